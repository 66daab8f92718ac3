"""Where the commands of the machine room print, and how steps that overlap are shown."""

from __future__ import annotations

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


class Steps:
    """A `machineroom.progress.Progress`: live lines on a terminal, one line per ended step elsewhere."""

    def __init__(self, console: Console = out) -> None:
        self._console = console
        self._tasks: dict[str, TaskID] = {}
        self._live = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}[/]", markup=True),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Steps:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def started(self, step: str) -> None:
        self._tasks[step] = self._live.add_task(step, total=1, note="")

    def said(self, step: str, text: str) -> None:
        if self._console.is_terminal:
            self._live.update(self._tasks[step], note=text.replace("[", "\\["))
        else:
            self._console.print(f"  {step}: {text}", markup=False)

    def ended(self, step: str, seconds: float) -> None:
        if self._console.is_terminal:
            self._live.update(self._tasks[step], completed=1, note="")
        else:
            self._console.print(f"  {step} is ready ({seconds:.1f} s)", markup=False)

    def notice(self, text: str) -> None:
        self._console.print(text, style="yellow", markup=False)


class Still:
    """Says what is still being waited for, whenever that changes."""

    def __init__(self, console: Console = out) -> None:
        self._console = console
        self._last: list[str] = []

    def __call__(self, names: list[str]) -> None:
        names = sorted(names)
        if names and names != self._last:
            self._console.print(f"  still running: {', '.join(names)}", markup=False)
        self._last = names
