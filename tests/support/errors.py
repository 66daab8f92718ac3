"""What every error of the MWAA API has (mwaa-spec 1.1)."""

from __future__ import annotations

import json
import uuid

from botocore.loaders import Loader
from botocore.model import ServiceModel, StructureShape

from support.asgi import Answer

MODEL = ServiceModel(Loader().load_service_model("mwaa", "service-2"), "mwaa")
INSIDES = ("Traceback", 'File "', ".py", "aerodrome.", "psycopg", "Error(")


def check(answer: Answer) -> str:
    """Hold an error against the contract; return its message. An error of ours (5xx) breaks it."""
    code = answer.headers["x-amzn-errortype"]
    assert 400 <= answer.status < 500, (answer.status, answer.body)
    assert uuid.UUID(answer.headers["x-amzn-requestid"])
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == str(len(answer.body))
    body = json.loads(answer.body)
    shape = MODEL.shape_for_error_code(code)  # type: ignore[arg-type]
    known = set(shape.members) if isinstance(shape, StructureShape) else set()
    spelling = next((name for name in known if name.lower() == "message"), "message")
    assert set(body) <= known | {spelling}
    text = body[spelling]
    assert isinstance(text, str)
    assert text
    assert not [inside for inside in INSIDES if inside in text], text
    return text
