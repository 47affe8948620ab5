"""Serves S3 with conditional writes, without credentials, until it is killed.

usage: serve_s3.py PORT BUCKET

One request at a time, so that a condition still holds when its write happens.
"""

import sys

from moto.s3.models import s3_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

ACCOUNT = "123456789012"


def main(port: str, bucket: str):
    s3_backends[ACCOUNT]["aws"].create_bucket(bucket, "eu-west-1")
    application = DomainDispatcherApplication(create_backend_app)
    run_simple("127.0.0.1", int(port), application, threaded=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
