"""The simulated flight: up, around in circles, down, as smooth functions of time. No log here."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_CLIMB_M_S, _CRUISE_M_S, _RADIUS_M = 2.5, 5.0, 80.0


@dataclass(frozen=True)
class FlightPlan:
    """When and where the drone flies in a log of `duration_s`. Seconds count from the log's start,
    whose boot clock is `start_us`."""

    duration_s: float
    start_us: int

    @property
    def armed_s(self) -> float:
        return 0.03 * self.duration_s

    @property
    def takeoff_s(self) -> float:
        return 0.05 * self.duration_s

    @property
    def landing_s(self) -> float:
        return 0.95 * self.duration_s

    @property
    def disarmed_s(self) -> float:
        return 0.97 * self.duration_s

    @property
    def armed_us(self) -> int:
        return self.boot_us(self.armed_s)

    @property
    def airborne_s(self) -> float:
        return self.landing_s - self.takeoff_s

    @property
    def climb_s(self) -> float:
        """Up, and once more down."""
        return min(20.0, 0.2 * self.airborne_s)

    @property
    def max_alt_m(self) -> float:
        return _CLIMB_M_S * self.climb_s

    @property
    def cruise_s(self) -> float:
        return self.airborne_s - 2 * self.climb_s

    @property
    def ramp(self) -> float:
        """Share of the cruise in which the drone gets up to speed."""
        return min(0.25, 3.0 / self.cruise_s)

    @property
    def laps(self) -> int:
        return max(1, round(_CRUISE_M_S * self.cruise_s / (2 * np.pi * _RADIUS_M)))

    @property
    def radius_m(self) -> float:
        """Smaller where there is no time for the whole of one."""
        return min(_RADIUS_M, _CRUISE_M_S * self.cruise_s / (2 * np.pi))

    @property
    def distance_m(self) -> float:
        """Over ground."""
        return 2 * np.pi * self.radius_m * self.laps

    @property
    def drain_per_s(self) -> float:
        """Share of the battery that a second in the air takes; a long flight has a larger one."""
        return min(0.001, 0.8 / self.airborne_s)

    @property
    def battery_used_pct(self) -> float:
        return 100 * self.drain_per_s * self.airborne_s

    def boot_us(self, seconds: float) -> int:
        return self.start_us + round(seconds * 1e6)


class Motion:
    """Where the drone is at each moment.

    Armed, straight up, once or more around a circle that begins and ends above home, straight down,
    disarmed. All by closed formulas, so that velocities are those of the path.
    """

    def __init__(self, seconds: NDArray[np.float64], plan: FlightPlan) -> None:
        self.plan = plan
        self.count = len(seconds)
        self.is_armed = (seconds >= plan.armed_s) & (seconds < plan.disarmed_s)
        self.is_flying = (seconds >= plan.takeoff_s) & (seconds < plan.landing_s)
        self.is_climbing = self.is_flying & (seconds < plan.takeoff_s + plan.climb_s)
        self.is_descending = self.is_flying & (seconds >= plan.landing_s - plan.climb_s)
        up, down = seconds - plan.takeoff_s, plan.landing_s - seconds
        rise = np.clip(np.minimum(up, down) / plan.climb_s, 0, 1)
        self.alt_m = plan.max_alt_m * (1 - np.cos(np.pi * rise)) / 2
        climb_m_s = plan.max_alt_m * np.pi / 2 * np.sin(np.pi * rise) / plan.climb_s
        self.climb_m_s = np.where(up < down, climb_m_s, -climb_m_s)
        around, rate = _ramped((up - plan.climb_s) / plan.cruise_s, plan.ramp)
        self.angle = 2 * np.pi * plan.laps * around
        self.speed_m_s = plan.distance_m / plan.cruise_s * rate
        self.north_m = plan.radius_m * np.sin(self.angle)
        self.east_m = plan.radius_m * (1 - np.cos(self.angle))
        self.used = np.clip(up, 0, plan.airborne_s) * plan.drain_per_s
        self.amps = np.where(self.is_flying, 18.0, np.where(self.is_armed, 2.0, 0.4))


def _ramped(
    part: NDArray[np.float64], ramp: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The share of a way that is gone after a share of its time, and its rate of change: even,
    but for a start and an end that take `ramp` of the time each."""
    part = np.clip(part, 0, 1)
    gone = np.where(
        part < ramp,
        part**2 / (2 * ramp),
        np.where(part > 1 - ramp, 1 - ramp - (1 - part) ** 2 / (2 * ramp), part - ramp / 2),
    )
    rate = np.clip(np.minimum(part, 1 - part) / ramp, 0, 1)
    return gone / (1 - ramp), rate / (1 - ramp)
