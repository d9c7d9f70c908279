"""Keys that anybody could work out: from a modulus alone, or from a private number that nobody drew at random. Pure."""

from functools import cache
from itertools import pairwise
from math import isqrt

_PRIMES = (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)


FERMAT_STEPS = 128
"""Neighbouring primes are found in the first; independent ones would be once in 2^900."""


def is_weak_modulus(modulus: int) -> bool:
    """Whether an RSA modulus gives its factors away: an even one, one of close primes (Fermat), or one that a flawed
    generator made (CVE-2017-15361, ROCA). Bounded work; what else might factor it is not tried.
    """
    return modulus % 2 == 0 or has_roca_fingerprint(modulus) or _has_close_primes(modulus)


def is_weak_scalar(scalar: int, order: int) -> bool:
    """Whether the private number of an EC key is so small, or so close to the order, that it can be searched for, or
    its bytes show a pattern.

    One drawn at random is so once in 2^64.
    """
    size = (order.bit_length() + 7) // 8
    return min(scalar, order - scalar).bit_length() < order.bit_length() - 64 or is_weak_seed(scalar.to_bytes(size))


def is_weak_seed(seed: bytes) -> bool:
    """Whether 32 bytes or more show a pattern that no random ones have: few different ones, or each as far from the
    next.
    """
    steps = {(after - before) % 256 for before, after in pairwise(seed)}
    return len(set(seed)) < 10 or len(steps) < 4


def _has_close_primes(modulus: int) -> bool:
    middle = isqrt(modulus - 1) + 1
    for _ in range(FERMAT_STEPS):
        square = middle * middle - modulus
        # A square is 0, 1, 4 or 9 modulo 16: three roots out of four need not be drawn.
        if square % 16 in (0, 1, 4, 9) and isqrt(square) ** 2 == square:
            return True
        middle += 1
    return False


def has_roca_fingerprint(modulus: int) -> bool:
    """Whether `modulus` is a power of 65537 modulo each of these primes; a sound one is so once in 10^8."""
    return all(modulus % prime in _powers(prime) for prime in _PRIMES)


@cache
def _powers(prime: int) -> frozenset[int]:
    return frozenset(pow(65537, exponent, prime) for exponent in range(prime - 1))
