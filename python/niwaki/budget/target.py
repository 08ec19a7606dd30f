"""What a compressed network may take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from niwaki.options import says_its_options
from niwaki.runtime.image import ImageConfig

# Bytes: less than any file has.
_LEAST = 100


@says_its_options
@dataclass(frozen=True)
class Target:
    """A budget for niwaki.compress. Several limits hold together.

    Attributes:
        size: of the .niwaki file: bytes (a whole number), or a share of the float32 parameters' bytes (a number above 0
            and at most 1, 0.1 for a tenth).
        latency: milliseconds for a call with one input on this machine, the median of some calls.
        speedup: how many times faster such a call is than that of the network in int8 without more zeros, above 1.
        threads: that work on such a call.
        accuracy_drop: points, per cent of the answers, that may be lost against the float32 network; needs evaluate=.
        image: what Network.save will be given, which counts to the size.

    Examples:
        >>> niwaki.Target(size=0.1, latency=5.0, threads=2).words()
        'a file of at most 10.0% of float32, at most 5 ms on 2 threads'
    """

    size: int | float | None = None
    latency: float | None = None
    speedup: float | None = None
    threads: int = 1
    accuracy_drop: float | None = None
    image: ImageConfig | None = None

    def __post_init__(self) -> None:
        if self.size is None and not self.timed and self.accuracy_drop is None:
            raise TypeError(
                "Target: give a limit: size=0.1, latency=5.0 (milliseconds), speedup=1.5 or accuracy_drop=1.0 (points)."
            )
        if self.size is not None:
            share = isinstance(self.size, float) and 0 < self.size <= 1
            count = isinstance(self.size, int) and not isinstance(self.size, bool) and self.size >= 1
            if not (share or count):
                raise ValueError(
                    "Target: size must be a whole number of bytes, or a share of float32 such as 0.1, "
                    f"not {self.size!r}."
                )
            if count and self.size < _LEAST:
                raise ValueError(
                    f"Target: size={self.size} is {self.size} bytes, which no file has; a whole number counts bytes, a "
                    "share of float32 is a number of at most 1.0: size=0.1 for a tenth."
                )
        if isinstance(self.threads, bool) or not isinstance(self.threads, int) or self.threads < 1:
            raise ValueError(f"Target: threads must be a whole number of at least 1, not {self.threads!r}.")
        for field, words in (("latency", "milliseconds above 0"), ("accuracy_drop", "points of at least 0")):
            value = getattr(self, field)
            if value is not None and not (_is_number(value) and (value > 0 or (value == 0 and field != "latency"))):
                raise ValueError(f"Target: {field} must be {words}, not {value!r}.")
        if self.image is not None and not isinstance(self.image, ImageConfig):
            raise TypeError(f"Target: image must be a niwaki.ImageConfig, not {type(self.image).__name__}.")
        if self.speedup is not None and not (_is_number(self.speedup) and self.speedup > 1):
            raise ValueError(f"Target: speedup must be a number above 1, not {self.speedup!r}.")

    @property
    def timed(self) -> bool:
        """Whether the time of a call is limited."""
        return self.latency is not None or self.speedup is not None

    def milliseconds_of(self, dense: float) -> float | None:
        """The limit of a call, for a network that takes so long in int8 without more zeros."""
        limits = [] if self.latency is None else [self.latency]
        limits += [] if self.speedup is None else [dense / self.speedup]
        return min(limits, default=None)

    def bytes_of(self, float_bytes: int) -> int | None:
        """The limit of the file, for a network of so many bytes of parameters in float32."""
        if self.size is None:
            return None
        # 1 is a byte, 1.0 is all of float32.
        return int(self.size * float_bytes) if isinstance(self.size, float) else self.size

    def words(self) -> str:
        """The limits, for people."""
        found = []
        if self.size is not None:
            size = f"{self.size:.1%} of float32" if isinstance(self.size, float) else f"{self.size:,} bytes"
            found.append(f"a file of at most {size}")
        if self.latency is not None:
            found.append(f"at most {self.latency:g} ms on {self.threads} thread{'s' * (self.threads > 1)}")
        if self.speedup is not None:
            found.append(f"{self.speedup:g} times as fast as int8 on {self.threads} thread{'s' * (self.threads > 1)}")
        if self.accuracy_drop is not None:
            found.append(f"at most {self.accuracy_drop:g} points lost")
        return ", ".join(found)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
