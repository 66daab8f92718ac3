"""Keys of AWS KMS that wrap the data keys of environments (mwaa-spec 9)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import SecretStr

from aerodrome.aws.clients import AwsClients
from aerodrome.domain.environment import EnvironmentKey
from aerodrome.domain.principal import Credentials
from aerodrome.errors import Temporary
from aerodrome.vault import KEY_BYTES, KeyUnusable

Identity = Callable[[EnvironmentKey], Awaitable[Credentials]]
_CONTEXT = "airflow:EnvironmentArn"  # a condition in key policies: kms:EncryptionContext:airflow:EnvironmentArn
# Errors of KMS that stay until somebody does something, with what.
_REMEDIES = {
    "DisabledException": "Enable it (`aws kms enable-key`): nothing is lost, and the environment goes on by itself.",
    "KMSInvalidStateException": "Cancel its deletion (`aws kms cancel-key-deletion`) and enable it: nothing is lost.",
    "NotFoundException": "Without it, what is sealed under it can't be read by anybody. Is it in another region?",
    "AccessDeniedException": "Let its policy allow kms:DescribeKey, kms:GenerateDataKey and kms:Decrypt to the key "
    "that AERODROME_AWS_ACCESS_KEY_ID names.",
    "InvalidKeyUsageException": "It must be a symmetric key for encryption.",
    "IncorrectKeyException": "The record was sealed under another key; restore the database from a backup.",
    "InvalidCiphertextException": "The record is damaged, or another environment's; restore it from a backup.",
    "UnrecognizedClientException": "Mend AERODROME_AWS_ACCESS_KEY_ID and its secret.",
    "InvalidSignatureException": "Mend AERODROME_AWS_SECRET_ACCESS_KEY.",
}


def own_kms(
    clients: AwsClients, endpoints: Mapping[str, str], access_key_id: str | None, secret: SecretStr | None
) -> AwsKms | None:
    """The KMS that was named (`AWS_ENDPOINT_URL_KMS`), asked with our own key; None when there is none, or no key."""
    if "KMS" not in endpoints or access_key_id is None or secret is None:
        return None
    ours = Credentials(access_key_id, secret.get_secret_value(), "", datetime.max.replace(tzinfo=UTC))

    async def identity(_: EnvironmentKey) -> Credentials:
        return ours

    return AwsKms(clients, identity)


class AwsKms:
    """Implements `store.data_keys.KeyService`. What a key wraps is bound to its environment by encryption context."""

    def __init__(self, clients: AwsClients, identity: Identity) -> None:
        self._clients = clients
        self._identity = identity

    async def check(self, kms_key: str, environment: EnvironmentKey) -> None:
        """Whether an environment can be sealed under the key: it is there, enabled, symmetric, of one Region.

        Raises:
            KeyUnusable: it can't; says why. Temporary: KMS doesn't answer.
        """
        answer = await self._ask("describe_key", kms_key, environment, KeyId=kms_key)
        found = answer["KeyMetadata"]
        wrong = ""
        if found["KeyState"] == "Disabled":
            wrong = f"is disabled. {_REMEDIES['DisabledException']}"
        elif found["KeyState"] != "Enabled":
            wrong = f"is in the state {found['KeyState']}; it must be Enabled."
        elif found.get("KeySpec", "SYMMETRIC_DEFAULT") != "SYMMETRIC_DEFAULT" or found["KeyUsage"] != "ENCRYPT_DECRYPT":
            wrong = "is not symmetric, or not for encryption; name one whose KeySpec is SYMMETRIC_DEFAULT."
        elif found.get("MultiRegion"):
            wrong = "is a multi-Region key; name one of a single Region."
        if wrong:
            raise KeyUnusable(f"The key {kms_key} {wrong}")

    async def generate(self, kms_key: str, environment: EnvironmentKey) -> tuple[bytes, bytes]:
        """As `KeyService`."""
        answer = await self._ask(
            "generate_data_key",
            kms_key,
            environment,
            KeyId=kms_key,
            NumberOfBytes=KEY_BYTES,
            EncryptionContext={_CONTEXT: environment.arn},
        )
        return bytes(answer["Plaintext"]), bytes(answer["CiphertextBlob"])

    async def decrypt(self, kms_key: str, wrapped: bytes, environment: EnvironmentKey) -> bytes:
        """As `KeyService`."""
        answer = await self._ask(
            "decrypt",
            kms_key,
            environment,
            KeyId=kms_key,
            CiphertextBlob=wrapped,
            EncryptionContext={_CONTEXT: environment.arn},
        )
        return bytes(answer["Plaintext"])

    async def _ask(self, operation: str, kms_key: str, environment: EnvironmentKey, **members: Any) -> dict[str, Any]:
        credentials = await self._identity(environment)

        def ask() -> dict[str, Any]:
            client = self._clients.client("kms", environment.region, credentials)
            try:
                answer: dict[str, Any] = getattr(client, operation)(**members)
            finally:
                client.close()
            return answer

        try:
            return await asyncio.to_thread(ask)
        except ClientError as error:
            told = error.response.get("Error", {})
            code, said = told.get("Code", ""), told.get("Message", "")
            problem = f"The key {kms_key} of KMS can't be used for {environment.arn} ({code}: {said})."
            if code in _REMEDIES:
                raise KeyUnusable(f"{problem} {_REMEDIES[code]}") from error
            raise Temporary(problem) from error
        except BotoCoreError as error:
            raise Temporary(f"KMS doesn't answer for the key {kms_key} of {environment.arn}: {error}") from error
