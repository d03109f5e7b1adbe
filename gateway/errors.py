"""The one list of error codes of the wire protocol, and the exception that carries them.

Every error that a user may see is a `GatewayError` with one `AppCode`. Turning it into an HTTP
body is the API's work; exit codes are the command line's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class AppCode(Enum):
    """The appcodes of the CTS protocol: (number, HTTP status, name shown as `apperror`)."""

    AUTHENTICATION_FAILED = (10000, 401, "Authentication failed")
    NO_TOKEN = (10010, 401, "No authentication token")
    INVALID_TOKEN = (10020, 401, "Invalid token")
    INVALID_AUTH_HEADER = (10030, 401, "Invalid auth header")
    INVALID_USER = (10040, 400, "Invalid user name")
    UNAUTHORIZED = (20000, 403, "Unauthorized")
    S3_PATH_INACCESSIBLE = (20010, 403, "S3 path inaccessible")
    S3_BUCKET_INACCESSIBLE = (20020, 403, "S3 bucket inaccessible")
    MISSING_PARAMETER = (30000, 400, "Missing input parameter")
    ILLEGAL_PARAMETER = (30001, 400, "Illegal input parameter")
    REQUEST_VALIDATION = (30010, 400, "Request validation failed")
    ILLEGAL_S3_PATH = (30020, 400, "Illegal S3 path")
    CHECKSUM_MISMATCH = (30030, 400, "Checksum mismatch")
    IMAGE_NAME_PARSE = (30040, 400, "Image name parse error")
    IMAGE_FETCH = (30050, 400, "Image fetch error")
    IMAGE_NO_ENTRYPOINT = (30060, 400, "Image has no entrypoint")
    INVALID_JOB_STATE = (30300, 400, "Invalid job state")
    INVALID_REFDATA_STATE = (30400, 400, "Invalid refdata state")
    NOT_FOUND = (40000, 404, "Not found")
    S3_PATH_NOT_FOUND = (40010, 404, "S3 path not found")
    S3_BUCKET_NOT_FOUND = (40020, 404, "S3 bucket not found")
    NO_SUCH_IMAGE = (40030, 404, "No such image")
    NO_SUCH_JOB = (40040, 404, "No such job")
    NO_SUCH_SUBJOB = (40050, 404, "No such sub job")
    NO_SUCH_REFDATA = (40060, 404, "No such refdata")
    NO_LOGS = (40070, 404, "No logs")
    IMAGE_TAG_EXISTS = (50000, 400, "Image tag exists")
    IMAGE_DIGEST_EXISTS = (50010, 400, "Image digest exists")
    REFDATA_EXISTS = (50100, 400, "Refdata exists")
    RESOURCE_UNAVAILABLE = (60000, 400, "Resource unavailable")
    SITE_INACTIVE = (60010, 400, "Site inactive")
    SITE_UNAVAILABLE = (60020, 400, "Site unavailable")
    UNSUPPORTED = (100000, 400, "Unsupported operation")

    @property
    def code(self) -> int:
        """The number on the wire."""
        return self.value[0]

    @property
    def http_status(self) -> int:
        """The HTTP status that goes with it."""
        return self.value[1]

    @property
    def title(self) -> str:
        """The text of `apperror`."""
        return self.value[2]


@dataclass(frozen=True)
class ErrorDetail:
    """One entry of `request_validation_detail`: where in the document, what, which rule."""

    loc: tuple[str | int, ...]
    msg: str
    type: str = "value_error"


class GatewayError(Exception):
    """An error for a user: it names the thing, the rule it broke and what would be right.

    Parameters
    ----------
    code
        One of the protocol's codes.
    message
        A sentence or two for a person. Never holds a secret.
    details
        For `REQUEST_VALIDATION`: the places in the request.
    """

    def __init__(self, code: AppCode, message: str, details: tuple[ErrorDetail, ...] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


class ConfigError(Exception):
    """The configuration file is wrong; the text says where and what would be right."""


class SiteError(Exception):
    """A site (its Slurm, its file system) did not do what was asked; nothing is known of the rest.

    Never proof that a job ended or that a submission failed.
    """


class StoreError(Exception):
    """The database is missing, of another version, or refused what was asked."""
