"""The bill of materials of a published model: CycloneDX 1.6, with a machine-learning model."""

import uuid

from kdtool.report.card import FILE_NAMES, INPUTS, accuracy_interval, limits
from kdtool.report.decision import precision_to_ship
from kdtool.results.base import TEACHER_OF, Role, flat
from kdtool.results.study import Results

# Names of our own files, so that the same files get the same serial number each time.
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://cyclonedx.org/schema/bom-1.6")
TEACHER = "teacher"  # its reference


def bill_of_materials(results: Results, role: Role) -> dict[str, object]:
    """Return the bill of materials of a role's files, as JSON.

    Args:
        results: The study's.
        role: With at least one file.

    Source: https://cyclonedx.org/docs/1.6/json/ and its schema bom-1.6.schema.json. Written here,
    as cyclonedx-python-lib 11 has no model card.
    """
    model, data = results.models[role], results.data
    shipped = model.files[precision_to_ship(results, role)]
    low, high = accuracy_interval(shipped)
    teacher = results.models.get(TEACHER_OF[role]) if role in TEACHER_OF else None
    trained_on = f"sha256:{data.fingerprint}"
    card = {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": "image classification",
            "modelArchitecture": model.model,
            "datasets": [{"ref": trained_on}],
            "inputs": [{"format": INPUTS[str(flat(results.recipe)["export.input"])]}],
            "outputs": [{"format": f"logits and probabilities of {len(data.classes)} classes"}],
        },
        "quantitativeAnalysis": {
            "performanceMetrics": [
                {
                    "type": "accuracy",
                    "value": f"{shipped.accuracy:.6g}",
                    "slice": f"test, {data.num_test} images",
                    "confidenceInterval": {"lowerBound": f"{low:.6g}", "upperBound": f"{high:.6g}"},
                }
            ]
        },
        "considerations": {"technicalLimitations": limits(results)},
    }
    files = [
        {
            "type": "file",
            "bom-ref": FILE_NAMES[precision],
            "name": FILE_NAMES[precision],
            "hashes": [{"alg": "SHA-256", "content": file.sha256}],
            "properties": [
                {"name": "kdtool:precision", "value": precision},
                {"name": "kdtool:opset", "value": str(file.opset)},
                {"name": "kdtool:bytes", "value": str(file.size_bytes)},
            ],
        }
        for precision, file in model.files.items()
    ]
    dataset = {
        "type": "data",
        "bom-ref": trained_on,
        "name": data.source,
        "description": data.description,
        "data": [
            {
                "type": "dataset",
                "name": data.source,
                "contents": {
                    "properties": [
                        {"name": f"kdtool:{split}", "value": str(sum(counts))}
                        for split, counts in data.class_counts.items()
                    ]
                },
            }
        ],
    }
    teachers = [
        {
            "type": "machine-learning-model",
            "bom-ref": TEACHER,
            "name": one.model,
            "description": "the teacher, by which it was trained; not part of the files",
        }
        for one in ([teacher] if teacher else [])
    ]
    packages = [
        {
            "type": "library",
            "bom-ref": f"pkg:pypi/{name}@{version}",
            "name": name,
            "version": version,
            "purl": f"pkg:pypi/{name}@{version}",
            "scope": "excluded",  # made the files; what runs them is the user's choice
        }
        for name, version in results.environment.packages.items()
    ]
    serial = uuid.uuid5(NAMESPACE, " ".join(file.sha256 for file in model.files.values()))
    kdtool = {"type": "application", "name": "kdtool", "version": results.environment.kdtool}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "tools": {"components": [kdtool]},
            "component": {
                "type": "machine-learning-model",
                "bom-ref": "model",
                "name": results.name,
                "description": f"{model.model}, {role}, seed {model.exported_seed}",
                "modelCard": card,
            },
        },
        "components": [*files, dataset, *teachers, *packages],
        "dependencies": [
            {
                "ref": "model",
                "dependsOn": [
                    *(FILE_NAMES[precision] for precision in model.files),
                    trained_on,
                    *([TEACHER] if teacher else []),
                ],
            }
        ],
    }
