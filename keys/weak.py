"""RSA keys that a flawed generator made (CVE-2017-15361, ROCA), recognised by their modulus alone. Pure."""

from functools import cache

_PRIMES = (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)


def has_roca_fingerprint(modulus: int) -> bool:
    """Whether `modulus` is a power of 65537 modulo each of these primes; a sound one is so once in 10^8."""
    return all(modulus % prime in _powers(prime) for prime in _PRIMES)


@cache
def _powers(prime: int) -> frozenset[int]:
    return frozenset(pow(65537, exponent, prime) for exponent in range(prime - 1))
