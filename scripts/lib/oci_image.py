#!/usr/bin/env python3
"""Writes a container image as an archive, without a container engine.

    oci_image.py --name REGISTRY/NAME:TAG --output FILE.tar [--user UID:GID] [--label KEY=VALUE]...
                 [--architecture amd64] FILE=/PATH/IN/IMAGE...

The first FILE is the entrypoint. The archive is an OCI image layout with one uncompressed layer, and has the index
that `docker load` reads beside it; ctr, podman and kind take it too. The same files give the same bytes: no time, no
user and no order of the machine it is made on is in it.
"""

import argparse
import hashlib
import io
import json
import pathlib
import tarfile


def tar(entries):
    """(path, bytes, mode) -> the bytes of a tar file, with the directories that the paths need."""
    directories = {str(parent) for path, _, _ in entries for parent in pathlib.PurePosixPath(path).parents} - {"."}
    members = [(path, None, 0o755) for path in directories] + list(entries)
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path, content, mode in sorted(members, key=lambda member: member[0]):
            info = tarfile.TarInfo(path)
            info.mode = mode
            if content is None:
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return output.getvalue()


class Layout:
    """An OCI image layout in the making: blobs named by their digest."""

    def __init__(self):
        self.entries = [("oci-layout", b'{"imageLayoutVersion":"1.0.0"}', 0o644)]

    def blob(self, content, media_type):
        digest = hashlib.sha256(content).hexdigest()
        self.entries.append(("blobs/sha256/" + digest, content, 0o644))
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(content)}

    def json_blob(self, document, media_type):
        return self.blob(to_json(document), media_type)


def to_json(document):
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def image(name, files, user, labels, architecture):
    """The bytes of the archive. files: [(bytes, path in the image)]; the first is the entrypoint."""
    layout = Layout()
    platform = {"architecture": architecture, "os": "linux"}
    layer = layout.blob(
        tar([(path.lstrip("/"), content, 0o755) for content, path in files]),
        "application/vnd.oci.image.layer.v1.tar",
    )
    settings = {"Entrypoint": [files[0][1]], "Env": ["PATH=/"], "WorkingDir": "/"}
    if user:
        settings["User"] = user
    if labels:
        settings["Labels"] = labels
    config = layout.json_blob(
        {
            **platform,
            "created": "1970-01-01T00:00:00Z",
            "config": settings,
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "scripts/image"}],
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        },
        "application/vnd.oci.image.config.v1+json",
    )
    manifest_type = "application/vnd.oci.image.manifest.v1+json"
    manifest = layout.json_blob(
        {"schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": [layer], "annotations": labels},
        manifest_type,
    )
    # containerd takes the image's name from the first annotation, podman from the second.
    names = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{**manifest, "platform": platform, "annotations": names}],
    }
    for_docker = [{"Config": blob_path(config), "RepoTags": [name], "Layers": [blob_path(layer)]}]
    layout.entries.append(("index.json", to_json(index), 0o644))
    layout.entries.append(("manifest.json", to_json(for_docker), 0o644))
    return tar(layout.entries)


def blob_path(descriptor):
    return "blobs/" + descriptor["digest"].replace(":", "/")


def main():
    parser = argparse.ArgumentParser(description="Writes a container image as an OCI archive.")
    parser.add_argument("--name", required=True)
    parser.add_argument("--output", required=True, type=pathlib.Path)
    parser.add_argument("--user", default="")
    parser.add_argument("--label", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--architecture", default="amd64")
    parser.add_argument("file", nargs="+", metavar="FILE=/PATH/IN/IMAGE")
    arguments = parser.parse_args()

    files = []
    for pair in arguments.file:
        source, _, path = pair.rpartition("=")
        if not source or not path.startswith("/"):
            parser.error(f"'{pair}' is not of the form FILE=/PATH/IN/IMAGE")
        files.append((pathlib.Path(source).read_bytes(), path))
    labels = dict(label.split("=", 1) for label in arguments.label)
    archive = image(arguments.name, files, arguments.user, labels, arguments.architecture)
    # Under another name first, so that nobody ever reads half an archive.
    partial = arguments.output.with_name(arguments.output.name + ".partial")
    partial.write_bytes(archive)
    partial.rename(arguments.output)


if __name__ == "__main__":
    main()
