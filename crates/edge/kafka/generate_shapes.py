#!/usr/bin/env python3
"""Writes src/codec/shapes.rs: the wire layout of every request that Fleuve takes.

    ./generate_shapes.py kafka-clients-4.1.0.jar > src/codec/shapes.rs

The layouts come from the message definitions (common/message/*.json) inside Apache Kafka's client jar, of the release that the
`kafka-protocol` crate is generated from (Apache License 2.0). Run it again when that crate is updated.
"""

import json
import re
import sys
import zipfile

REQUESTS = """Produce Fetch ListOffsets Metadata OffsetCommit OffsetFetch FindCoordinator JoinGroup Heartbeat LeaveGroup SyncGroup
DescribeGroups ListGroups ApiVersions CreateTopics DeleteTopics DeleteRecords InitProducerId OffsetForLeaderEpoch DescribeConfigs
AlterConfigs CreatePartitions DeleteGroups IncrementalAlterConfigs OffsetDelete DescribeCluster
DescribeTopicPartitions""".split()

FIXED = {"bool": 1, "int8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "int64": 8, "float64": 8, "uuid": 16}
FOREVER = 32767


def versions(text):
    """(first, last) of '3', '3+', '3-5'; None for 'none'."""
    if text in (None, "none"):
        return None
    first, plus, last = re.fullmatch(r"(\d+)(\+)?(?:-(\d+))?", text).groups()
    return int(first), FOREVER if plus else int(last or first)


def kind(field_type, fields, common, nullable):
    if field_type.startswith("[]"):
        return f"List(&{kind(field_type[2:], fields, common, False)})"
    if field_type in FIXED:
        return f"Fixed({FIXED[field_type]})"
    if field_type == "string":
        return "Text"
    if field_type in ("bytes", "records"):
        return "Blob"
    inner = layout(fields or common[field_type], common)
    return f"{'Nullable' if nullable else 'Struct'}(&[{inner}])"


def layout(fields, common):
    out = []
    for field in fields:
        first, last = versions(field["versions"])
        tagged = versions(field.get("taggedVersions"))
        what = kind(field["type"], field.get("fields"), common, "nullableVersions" in field)
        tag = f"Some(({field['tag']}, {tagged[0]}))" if tagged else "None"
        out.append(f"Field {{ from: {first}, to: {last}, tag: {tag}, kind: {what} }}")
    return ", ".join(out)


def main(jar):
    shapes = []
    with zipfile.ZipFile(jar) as archive:
        for name in REQUESTS:
            text = archive.read(f"common/message/{name}Request.json").decode()
            message = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.M))
            common = {s["name"]: s["fields"] for s in message.get("commonStructs", [])}
            flexible = versions(message["flexibleVersions"])
            first = flexible[0] if flexible else FOREVER
            inner = layout(message["fields"], common)
            shapes.append((message["apiKey"], f"    // {name}\n    Shape {{ key: {message['apiKey']}, flexible_from: {first}, fields: &[{inner}] }},"))
    print("//! The wire layout of every request that is taken. Written by `generate_shapes.py`; do not edit.\n")
    print("use super::shape::Kind::{Blob, Fixed, List, Nullable, Struct, Text};")
    print("use super::shape::{Field, Shape};\n")
    print("pub(super) static SHAPES: &[Shape] = &[")
    for _, shape in sorted(shapes):
        print(shape)
    print("];")


main(sys.argv[1])
