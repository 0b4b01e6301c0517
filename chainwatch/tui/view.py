"""
Which entries are on the screen: the newest ones, or those that somebody looks at. Pure: heights are arguments.

It follows at the end. Whoever moves away from there, or pauses, looks at the entries as they were then, while new ones
are counted: nothing that is being read moves or goes. Moving below the last of them shows what has come meanwhile, and
where nothing has, it follows again; unless it was paused, which only a key ends.
"""

from __future__ import annotations

from chainwatch.tui.ring import Entry, Held, Ring


class View:
    """A window on a ring."""

    def __init__(self, ring: Ring) -> None:
        self.ring = ring
        self.paused = False
        self._held: Held | None = None
        self._selected = 0
        self._top = 0

    @property
    def follows(self) -> bool:
        return self._held is None

    @property
    def new(self) -> int:
        """How many have come since it stopped following."""
        return 0 if self._held is None else self.ring.end - self._held.end

    @property
    def shown(self) -> Ring | Held:
        """What there is to look at."""
        return self.ring if self._held is None else self._held

    @property
    def selected(self) -> int | None:
        """The number of the selected entry, the newest one while it follows; None where there is none."""
        shown = self.shown
        if shown.end == shown.first:
            return None
        return shown.end - 1 if self._held is None else min(max(self._selected, shown.first), shown.end - 1)

    @property
    def entry(self) -> Entry | None:
        """The selected one."""
        return None if (number := self.selected) is None else self.shown[number]

    def shown_lines(self) -> list[bytes]:
        """The JSON of all events that there are to look at, without the notes between them."""
        held = self.ring.hold() if self._held is None else self._held
        return [entry for entry in held.entries if isinstance(entry, bytes)]

    def top(self, height: int) -> int:
        """The number of the entry in the first line of `height`."""
        shown = self.shown
        lowest = max(shown.first, shown.end - height)
        if self._held is None or (at := self.selected) is None:
            return lowest
        return min(max(self._top, at - height + 1, shown.first), at, lowest)  # the height may have changed

    # --- what keys do -----------------------------------------------------------------------------------------------

    def pause(self, height: int) -> None:
        """Stop; or, where it was paused, go on at the end."""
        self.paused = not self.paused
        if self.paused:
            self._hold(height)
        else:
            self._held = None

    def follow(self) -> None:
        """Go on at the end; not while it is paused."""
        if not self.paused:
            self._held = None

    def move(self, by: int, height: int) -> None:
        """Select another entry, `by` lines further down."""
        self._hold(height)
        at = self.selected
        if at is None:
            self.follow()
            return
        if at + by >= self.shown.end and not self.paused:
            if not self.new:
                self._held = None
                return
            self._extend()
        self._select(at + by, height)

    def scroll(self, by: int, height: int) -> None:
        """Show what is `by` lines further down; the selection stays on the screen."""
        self._hold(height)
        shown, top = self.shown, self.top(height) + by
        if top + height >= shown.end and by > 0 and not self.paused:
            if not self.new:
                self._held = None
                return
            self._extend()
        shown = self.shown
        self._top = max(shown.first, min(top, shown.end - height))
        self._selected = min(max(self._selected, self._top), self._top + height - 1)

    def to_first(self, height: int) -> None:
        self._hold(height)
        self._select(self.shown.first, height)

    def to_last(self, height: int) -> None:
        """The end; and on from there, unless it is paused."""
        self.follow()
        if self._held is not None:
            self._select(self._held.end - 1, height)

    def select(self, number: int, height: int) -> None:
        """That entry, such as one that was clicked at."""
        self._hold(height)
        self._select(number, height)

    def clear(self) -> None:
        """Another filter: what was seen is gone. What was paused is paused no more: nobody has seen what comes."""
        self.ring.clear()
        self._held, self.paused = None, False

    def _hold(self, height: int) -> None:
        if self._held is None:
            self._top, at = self.top(height), self.selected
            self._held = self.ring.hold()
            self._selected = self._held.first if at is None else at

    def _extend(self) -> None:
        """Hold what has come meanwhile, too. What the ring has let go of since is let go of now."""
        self._held = self.ring.hold()

    def _select(self, number: int, height: int) -> None:
        shown = self.shown
        self._selected = number = max(shown.first, min(number, shown.end - 1))
        if number < self.top(height):
            self._top = number
        elif number >= self.top(height) + height:
            self._top = number - height + 1
