"""What an operator wants to know of the checks of one process; plain values, for whoever renders them."""

from dataclasses import dataclass

from issuer.secret_checks.failures import FailureLimit
from issuer.secret_checks.verifier import SecretVerifier


@dataclass(frozen=True)
class SecretCheckMeasures:
    """Of this process alone, and but for slow_waiting, which is of now, since its start.

    digest_runs, argon2_runs: the work done. slow_refused: slow checks that had no place or no turn in time.
    over_limit: wrong secrets that were answered as one too many of a client.
    """

    digest_runs: int
    argon2_runs: int
    slow_waiting: int
    slow_refused: int
    over_limit: int


def measures(verifier: SecretVerifier, failures: FailureLimit) -> SecretCheckMeasures:
    """How the checks stand."""
    return SecretCheckMeasures(
        verifier.digest_runs,
        verifier.argon2_runs,
        verifier.slow_waiting(),
        verifier.slow_refused,
        failures.over_limit,
    )
