"""Plan: how does accepted work become deliveries, exactly once, in one transaction?

Work comes from this node's own acceptor right after its commit, or from the ``plan_work`` table when
nobody planned it in time. A planner takes several pieces at once, looks everything up in one go, decides
by the pure rules of ``core.plan``, and writes deliveries, inbox items, queue rows and the removal of the
work in one transaction.
"""

from ulak.flow.plan.planner import Planner, Settings

__all__ = ["Planner", "Settings"]
