"""Whose callbacks come to which address?

The address of an account holds an id that is made with a secret of the installation, so that nobody finds it by
trying names. An account without ``events_…`` settings has no address.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ulak.core.ids import callback_id
from ulak.core.loaded import Loaded
from ulak.core.model import Account
from ulak.providers.registry import EVENTS, PREFIX

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Owner:
    """A tenant's account, with its secrets."""

    tenant: int
    account: Account


class Accounts:
    """The addresses of the accounts in force.

    ``current`` are the catalogues by tenant; ``resolve`` puts secrets into an account, and raises what
    ``unusable`` names when it can't.
    """

    def __init__(
        self,
        current: Callable[[], Mapping[int, Loaded]],
        resolve: Callable[[Account], Account],
        unusable: tuple[type[Exception], ...] = (),
    ) -> None:
        self._current = current
        self._resolve = resolve
        self._unusable: tuple[type[Exception], ...] = (*unusable, ValueError)
        self._known: Mapping[str, Owner] = {}
        self._made_of: object = None

    def find(self, secret: bytes, address: str) -> Owner | None:
        """The account of an id, or None."""
        current = self._current()
        made_of = (secret, tuple((tenant, loaded.catalog.digest) for tenant, loaded in current.items()))
        if made_of != self._made_of:
            self._known, self._made_of = self._make(secret, current), made_of
        return self._known.get(address)

    def _make(self, secret: bytes, current: Mapping[int, Loaded]) -> Mapping[str, Owner]:
        known = {}
        for tenant, loaded in current.items():
            for declared in loaded.catalog.accounts.values():
                account = self._usable(declared)
                if account is not None:
                    known[callback_id(secret, tenant, account.provider, account.name)] = Owner(tenant, account)
        return known

    def _usable(self, declared: Account) -> Account | None:
        if declared.provider not in EVENTS:
            return None
        try:
            account = self._resolve(declared)
            if not takes_callbacks(account):
                return None
            EVENTS[account.provider].check({k: v for k, v in account.settings.items() if k.startswith(PREFIX)})
        except self._unusable as error:
            if takes_callbacks(declared):
                log.error("account %s takes no callbacks: %s", declared.name, error)  # noqa: TRY400  # it says all
            return None
        return account


def takes_callbacks(account: Account) -> bool:
    """Whether an account is declared to take callbacks."""
    return account.provider in EVENTS and any(key.startswith(PREFIX) for key in account.settings)
