"""What a bucket says of itself is told as it is; what it does not say stays open."""

import pytest
from servers import BUCKET

from cardioclarity.storage import open_storage
from cardioclarity.storage.bare import Bare


@pytest.mark.parametrize(
    ("rule", "is_named"),
    [
        ({"Prefix": "", "Expiration": {"Days": 30}}, True),
        ({"Filter": {"Prefix": "root/"}, "Expiration": {"Days": 30}}, True),
        ({"Filter": {"Prefix": "root/reports/"}, "Expiration": {"Date": "2027-01-01"}}, True),
        ({"Filter": {"And": {"Prefix": "root", "Tags": []}}, "Expiration": {"Days": 1}}, True),
        ({"Filter": {"Prefix": "elsewhere/"}, "Expiration": {"Days": 30}}, False),
        ({"Prefix": "", "Expiration": {"ExpiredObjectDeleteMarker": True}}, False),
        ({"Prefix": "", "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}}, False),
        ({"Prefix": "", "Expiration": {"Days": 30}, "Status": "Disabled"}, False),
    ],
)
def test_a_lifecycle_rule_counts_where_it_lets_objects_of_the_root_expire(rule, is_named):
    class Client:
        def get_bucket_lifecycle_configuration(self, **_):
            rules = [{"ID": "old", "Status": "Enabled"} | rule]
            return {"Rules": rules, "ResponseMetadata": {"HTTPStatusCode": 200}}

    assert Bare(Client(), "bucket", "root/").expiring() == (["old"] if is_named else [])


@pytest.mark.service
def test_versions_of_a_bucket_are_noticed(s3, seaweed):
    client = seaweed.client()
    client.create_bucket(Bucket="versioned")
    client.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})

    assert Bare.of(open_storage("s3://versioned/root")).keeps_versions() is True
    assert Bare.of(open_storage(f"s3://{BUCKET}/root")).keeps_versions() is False
