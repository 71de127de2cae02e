"""Sets of image files: folders of classes, tables that name files, and tar shards."""
