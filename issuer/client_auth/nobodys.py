"""Public keys whose private halves nobody has: a signature is checked with them where there is no key to check it with.

They were drawn for this, and what was private of them was never stored.
"""

from collections.abc import Mapping

_ES256 = {
    "crv": "P-256",
    "x": "I6WHi4-VdltD_AVcHEE_fmxGgpFjvDKRNtzlO2F3Ikw",
    "y": "YmRxkDhD65fe0sb6rg_4LCJzfQTnGzvHyW8i4IcjJZw",
    "kty": "EC",
}
_ES384 = {
    "crv": "P-384",
    "x": "hPEgKJAnqeLkoI5FCIClnxTbsx4deEex1vb47Y-Kma4heWHSFvUxlDHf5OWoskt2",
    "y": "S8ZafsOoQMZz49WcKPJZPKR_ABbJXv-zYZoosbBN_bSktAThqHcwwkbRYRwGBEhN",
    "kty": "EC",
}
_EDDSA = {
    "crv": "Ed25519",
    "x": "4krvu0HIEKGB9JXPtVqog6Xt8VZfTb5oPyZVRBtI-L8",
    "kty": "OKP",
}
_RSA = {
    "n": (
        "sKu9pCjilhMoAwF4LDIjDwLg7_IJXM_LrIde_ItI5KqkCfk9Soc2N_IcqFzOQc1GXQs_iikD5_svPOVt-XlNjnNtYd"
        "JSixddp_gjBjUGzOLqXMBNgCAFnimr-7zTj4j1sXPxvPvpSqgM2QhxZN--OPUETMHVMvAMGwOYKJm1WRvS8dDjr09n"
        "KtsHyir2XTvhzup9XC6KkrCEtTPIsFU5-JsPr06f0FDkk-PILdE8QJlvsSMFbE2k0p_ICRl72rVOWSyTQaQUg56ihz"
        "uAd8LfHelbKNAPnm90XfeexWNx6fFGPfM7SyXcGs4G5vVkwaGGXrbW33n9k6cWxLsCmD53OQ"
    ),
    "e": "AQAB",
    "kty": "RSA",
}

NOBODYS: Mapping[str, dict[str, str]] = {
    "ES256": _ES256,
    "ES384": _ES384,
    "EdDSA": _EDDSA,
    "RS256": _RSA,
    "PS256": _RSA,
}
"""By algorithm."""
