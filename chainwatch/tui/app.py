"""The monitor's screen: header, panes, events, keys. It paints ten times a second what the model says then."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Final, Protocol

from textual import events, on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.filter import LineFilter, NoColor

from chainwatch.errors import ChainwatchError
from chainwatch.tui import dialogs, tables
from chainwatch.tui.drawing import BACKGROUND, RAISED, drawable
from chainwatch.tui.eventlist import EventList
from chainwatch.tui.header import Header, Keys
from chainwatch.tui.listing import Listing, Pane
from chainwatch.tui.model import Model
from chainwatch.tui.prompt import Prompt
from chainwatch.tui.save import save
from chainwatch.tui.words import Known

BEAT: Final = 0.1
"""Seconds from one painting to the next."""
WIDE, HIGH = 110, 32
"""Columns and lines from which on all panes are on the screen at a time."""
LOW, TINY, LEAST = 22, 14, 8
"""Lines below which the pane gives room to the events; is there instead of them, not beside; has one line above it."""
INTERRUPTED: Final = 130
TERMINATED: Final = 143


class Source(Protocol):
    """Who tells the model, see `feed.Feed`."""

    async def run(self) -> None: ...

    async def choose(self, text: str) -> None: ...


class Monitor(App[None]):
    """What a daemon does, in a terminal."""

    TITLE = "chainwatch monitor"
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE, "-wide")]  # noqa: RUF012 - it is declared so
    VERTICAL_BREAKPOINTS = [(0, "-least"), (LEAST, "-tiny"), (TINY, "-low"), (LOW, "-mid"), (HIGH, "-high")]  # noqa: RUF012
    CSS: ClassVar[str] = f"""
    Screen {{ background: {BACKGROUND}; }}
    #header {{ height: 2; }}
    #keys {{ height: 1; }}
    #panes {{ height: 8; layout: vertical; }}
    Pane {{ height: 1fr; }}
    #events {{ height: 1fr; }}
    Screen.-least #header {{ height: 1; }}
    Screen.-least #panes, Screen.-tiny #panes {{ height: 1fr; }}
    Screen.-low #panes {{ height: 5; }}
    Screen.-high #panes {{ height: 14; }}
    Screen.-wide.-high #panes {{ layout: grid; grid-size: 2 2; grid-columns: 8fr 5fr; grid-gutter: 0 1; height: 45%; }}
    Screen.-wide.-high Pane {{ height: 100%; }}
    #prompt {{ display: none; height: auto; background: {RAISED}; }}
    #prompt.open {{ display: block; }}
    #prompt Static {{ height: auto; max-height: 6; padding: 0 1; background: {RAISED}; }}
    #offers {{ text-wrap: nowrap; text-overflow: ellipsis; }}
    #prompt Input {{ margin: 0 1; background: {BACKGROUND}; }}
    Dialog {{ align: center middle; background: {BACKGROUND} 60%; }}
    #dialog {{ width: 90%; max-width: 120; height: auto; max-height: 90%; background: {RAISED}; padding: 0 1;
               border: round #69b4f0; border-title-color: #ffffff; border-subtitle-color: #8794a1;
               scrollbar-size-vertical: 1; scrollbar-background: {RAISED}; scrollbar-background-hover: {RAISED};
               scrollbar-color: #8794a1; scrollbar-color-hover: #d8dee6; scrollbar-color-active: #d8dee6; }}
    #text {{ width: 1fr; height: auto; background: {RAISED}; }}
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "pause", show=False),
        Binding("slash", "filter", show=False),
        Binding("enter", "detail", show=False),
        Binding("s", "sort", show=False),
        Binding("y,c", "copy", show=False),
        Binding("ctrl+s", "save", show=False),
        Binding("question_mark", "keys", show=False),
        Binding("q,ctrl+q", "quit", show=False),
        Binding("ctrl+c", "interrupt", show=False, priority=True),
    ]

    def __init__(
        self, model: Model, source: Source, *, clock: Callable[[], float] = time.time, folder: Path | None = None
    ) -> None:
        """`clock`: Unix time. `folder`: where events are saved; None: wherever the program runs."""
        super().__init__()
        self.model = model
        self.fault: BaseException | None = None
        """What should not have happened, and ended it."""
        self._source = source
        self._clock = clock
        self._folder = folder or Path()
        self._panes = (
            Pane("chains", "chains", tables.chains, tables.CHAIN_ORDERS),
            Pane("held", "prices and wallets", tables.held, tables.HELD_ORDERS),
            Pane("streams", "streams", tables.streams, tables.STREAM_ORDERS),
            Pane("log", "log", tables.log),
        )
        self._shown = self._panes[0]
        self._is_roomy = False  # all panes are on the screen
        self._is_tiny = False  # either a pane is, or the events
        self._header = Header(model, clock)
        self._events = EventList(model)
        self._frame = Container(id="panes")
        self._prompt = Prompt(self._known)
        self._keys = Keys()
        self._told: object = None
        self._second = 0

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Where colours are not wanted there are none: Textual would make greys of them."""
        return [NoColor()] if self.no_color else super().get_line_filters()

    def compose(self) -> ComposeResult:
        yield self._header
        with self._frame:
            yield from self._panes
        yield self._events
        yield self._prompt
        yield self._keys

    async def on_mount(self) -> None:
        self._show_pane(self._shown)
        self._events.focus()
        self.set_interval(BEAT, self.paint, name="paint")
        self.run_worker(self._listen(), name="feed", exit_on_error=False)
        with suppress(NotImplementedError, RuntimeError, ValueError):  # not the main thread, or no such signals
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.exit, None, TERMINATED)

    async def _listen(self) -> None:
        try:
            await self._source.run()
        except Exception as error:  # noqa: BLE001 - it is told once the terminal is as it was
            self.fault = error
            while isinstance(self.fault, BaseExceptionGroup):  # of tasks: the first says what happened
                self.fault = self.fault.exceptions[0]
            self.exit()

    def _handle_exception(self, error: Exception) -> None:
        """The command line tells it, once the terminal is as it was."""
        self.fault = self.fault or error
        super()._handle_exception(error)

    def _fatal_error(self) -> None:
        """Leave. Textual would print all local variables besides, a key among them."""
        self._close_messages_no_wait()

    # --- painting ---------------------------------------------------------------------------------------------------

    def paint(self) -> None:
        """The header always; the events where some came; the panes once a second, or when a snapshot came."""
        if not self.screen_stack:  # it is being left
            return
        self._header.refresh()
        self._events.paint()
        second = int(self._clock())
        if self._told is not self.model.vitals or second != self._second:
            self._told, self._second = self.model.vitals, second
            self.paint_panes()

    def paint_panes(self) -> None:
        """What stands in the panes that can be seen."""
        now, tabs = self._clock(), [] if self._is_roomy else [pane.caption for pane in self._panes]
        for pane in self._panes:
            pane.tabs = tabs
            pane.draw(self.model, now)

    def on_resize(self, event: events.Resize) -> None:
        self._is_roomy = event.size.width >= WIDE and event.size.height >= HIGH
        self._is_tiny = event.size.height < TINY
        self._show_pane(self._shown)
        self.call_after_refresh(self.paint_panes)

    # --- keys -------------------------------------------------------------------------------------------------------

    def action_pause(self) -> None:
        self.model.view.pause(self._events.lines)
        self.paint()

    def action_filter(self) -> None:
        self._events.display = True  # it is they that are filtered
        self._frame.display = not self._is_tiny
        self._type(is_typing=True)
        self._prompt.open(self.model.filter)

    def _type(self, *, is_typing: bool) -> None:
        self._keys.typing = is_typing
        self._keys.refresh()

    def action_detail(self) -> None:
        listing = self._listing
        if isinstance(listing, Pane):
            if listing.row is not None:
                self.push_screen(dialogs.about(listing.caption, listing.row.text))
        elif (entry := self.model.view.entry) is not None:
            self.push_screen(dialogs.detail(entry))

    @on(Listing.Chosen)
    def _chosen(self) -> None:
        self.action_detail()

    def action_pane(self, by: int) -> None:
        """The next of the panes, in a ring with the events."""
        ring: list[Listing] = [self._events, *self._panes]
        listing = self._listing
        following = ring[(ring.index(listing) + by) % len(ring)] if listing in ring else self._events
        following.display = self._frame.display = True
        self.screen.set_focus(following)  # before the other is hidden: a focus that is hidden goes wherever it likes
        self._show_pane(following if isinstance(following, Pane) else self._shown)
        self.call_after_refresh(self.paint_panes)

    def action_sort(self) -> None:
        listing = self._listing
        order = listing.sort() if isinstance(listing, Pane) else None
        if order is None:
            stay = "events stay in the order of the log: tab goes to a pane"
            self.notify(stay if listing is self._events else "here is nothing to sort")
        self.paint_panes()

    def action_copy(self) -> None:
        if (text := self._listing.text) is not None:
            self.copy_to_clipboard(text)
            self.notify(f"copied {len(text):,} characters", markup=False)

    async def action_save(self) -> None:
        """The events that can be looked at now, all of them."""
        moment = datetime.fromtimestamp(self._clock(), UTC)
        try:
            path, count = await asyncio.to_thread(save, self._folder, moment, self.model.view.shown_lines())
        except OSError as error:
            self.notify(f"cannot save: {error.strerror}", severity="error", markup=False)
        else:
            self.notify(f"saved {count:,} events as {drawable(str(path))}", markup=False)

    def action_keys(self) -> None:
        self.push_screen(dialogs.keys())

    def action_interrupt(self) -> None:
        self.exit(return_code=INTERRUPTED)

    @property
    def _listing(self) -> Listing:
        focused = self.focused
        return focused if isinstance(focused, Listing) else self._events

    def _show_pane(self, shown: Pane) -> None:
        self._shown = shown
        for pane in self._panes:
            pane.display = self._is_roomy or pane is shown
        alone = self._is_tiny and isinstance(self.focused, Pane)
        self._frame.display, self._events.display = alone or not self._is_tiny, not alone

    # --- the filter -------------------------------------------------------------------------------------------------

    @on(Prompt.Asked)
    async def _asked(self, asked: Prompt.Asked) -> None:
        self._prompt.say("asking the daemon …", wrong=False)
        self.run_worker(self._choose(asked.text), name="filter", exclusive=True, group="filter")

    async def _choose(self, text: str) -> None:
        try:
            await self._source.choose(text)
        except ChainwatchError as error:
            self._prompt.refuse(error)
        else:
            self._prompt.close()
        self.paint()

    @on(Prompt.Closed)
    def _filtered(self) -> None:
        self.workers.cancel_group(self, "filter")
        self._type(is_typing=False)
        self._events.focus()
        self._show_pane(self._shown)

    def _known(self) -> Known:
        vitals, wallets = self.model.vitals, self.model.wallets
        return Known(
            chains=tuple(chain.name for chain in vitals.chains) if vitals else (),
            tokens=tuple(sorted({one.token for wallet in wallets for one in wallet.balances if one.token})),
            addresses=tuple(sorted({wallet.address for wallet in wallets})),
            types=tuple(sorted(self.model.custom_types())),
        )
