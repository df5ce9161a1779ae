"""Checkpoints in an S3 bucket, on moto's server; skipped where moto or s3fs is not installed."""

from __future__ import annotations

import pytest
from checkpoint_samples import write_versions

from farm.errors import CheckpointError
from trainer.checkpoints.exchange import pull, push
from trainer.checkpoints.registry import Registry
from trainer.checkpoints.remote import Patience

pytest.importorskip("s3fs")
moto_server = pytest.importorskip("moto.server")

# Of botocore, moto and what they use; no business of ours.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
HASTY = Patience(attempts=2, pause_s=0.01, connect_s=5, read_s=5)


@pytest.fixture
def bucket(monkeypatch):
    import boto3

    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="models")
    yield client
    client.close()
    server.stop()


@pytest.fixture
def origin(tmp_path, small_config) -> Registry:
    registry = Registry(tmp_path / "origin")
    registry.promote(write_versions(registry, small_config, 2)[-1])
    return registry


def test_a_bucket_is_pushed_to_and_pulled_from(bucket, origin, tmp_path):
    first, last = origin.versions()
    here = Registry(tmp_path / "here")
    push(origin, "s3://models/optical/checkpoints", first, patience=HASTY)
    assert pull(here, "s3://models/optical/checkpoints", patience=HASTY).version == first
    push(origin, "s3://models/optical/checkpoints", patience=HASTY)
    assert pull(here, "s3://models/optical/checkpoints/", patience=HASTY).version == last
    assert here.versions() == [first, last]
    found = bucket.list_objects_v2(Bucket="models")["Contents"]
    assert {item["Key"] for item in found} == {
        "optical/checkpoints/latest",
        *(
            f"optical/checkpoints/{version}/{name}"
            for version in (first, last)
            for name in ("card.json", "ipa.safetensors", "rpa.safetensors")
        ),
    }


def test_altered_objects_are_refused(bucket, origin, tmp_path):
    push(origin, "s3://models/c", patience=HASTY)
    bucket.put_object(Bucket="models", Key=f"c/{origin.latest()}/rpa.safetensors", Body=b"rot")
    here = Registry(tmp_path / "here")
    with pytest.raises(CheckpointError, match=r"^s3://models/c/.*rpa\.safetensors: does not match"):
        pull(here, "s3://models/c", patience=HASTY)
    assert here.versions() == []


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize("place", ["s3://models/nothing", "s3://no-such-bucket/c"])
def test_what_is_not_there_is_said_in_a_sentence(place, tmp_path):
    with pytest.raises(CheckpointError, match=rf"^{place}: no checkpoint there") as error:
        pull(Registry(tmp_path), place, patience=HASTY)
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("bucket")
def test_a_push_makes_no_bucket(origin):
    with pytest.raises(CheckpointError, match=r"^s3://no-such-bucket/"):
        push(origin, "s3://no-such-bucket/c", patience=HASTY)


@pytest.mark.usefixtures("bucket")
def test_without_credentials_the_error_says_what_to_set(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(CheckpointError, match="no credentials") as error:
        pull(Registry(tmp_path), "s3://models/c", patience=HASTY)
    assert "AWS_ACCESS_KEY_ID" in error.value.fix
