"""A reporter whose messages a test reads."""

from kdtool.train.reporter import Silent


class Recorded(Silent):
    """A reporter that keeps the messages."""

    def __init__(self):
        self.said, self.warned = [], []

    def say(self, text):
        self.said.append(text)

    def warn(self, text):
        self.warned.append(text)
