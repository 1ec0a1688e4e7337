"""Runs chapters: side by side, the longest first, then those that time something one by one."""

import asyncio
import os
import re
import shutil
import sys
import threading
import time
from pathlib import Path

import weights
from chapters import Chapter, forget_page
from jupyter_cache.base import CacheBundleIn
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

CELL_TIMEOUT_S = 600
# A chapter keeps one core busy most of the time: it compiles, or it waits for one device.
AT_A_TIME = min(os.cpu_count(), 4)


class Progress:
    """One line an event and, on a terminal, a last line that says at which cells the chapters are.

    `total` chapters are going to run.
    """

    def __init__(self, total: int):
        self.total, self.done = total, 0
        self.running: dict[str, str] = {}
        self.live, self.stopped = sys.stdout.isatty(), False

    def say(self, text: str) -> None:
        if not self.stopped:
            print(("\r\033[K" if self.live else "") + text, flush=True)
            self._draw()

    def start(self, chapter: Chapter) -> None:
        self.running[chapter.title] = "starts"
        if self.live:
            self._draw()
        else:
            self.say(f"{chapter.name}: running")

    def at(self, chapter: Chapter, number: int, cells: int) -> None:
        self.running[chapter.title] = f"cell {number} of {cells}"
        self._draw()

    def end(self, chapter: Chapter, outcome: str) -> None:
        del self.running[chapter.title]
        self.done += 1
        self.say(f"{chapter.name}: {outcome} ({self.done} of {self.total})")

    def stop(self) -> None:
        """Leaves the live line as it is, and says nothing any more: no other chapter starts."""
        if self.live:
            print(flush=True)
        self.stopped = True

    def _draw(self) -> None:
        if self.live and not self.stopped:
            line = "   ".join(f"{title}: {where}" for title, where in self.running.items())
            line = line[: shutil.get_terminal_size().columns - 1]
            print(f"\r\033[K{line}", end="", flush=True)


class Run:
    """One run of a chapter in a kernel of its own."""

    def __init__(self, chapter: Chapter, progress: Progress):
        self.chapter, self.progress = chapter, progress
        cells = chapter.notebook.cells
        self.code_cells = [index for index, cell in enumerate(cells) if cell.cell_type == "code"]
        self.index = self.code_cells[0] if self.code_cells else 0
        self.client = NotebookClient(
            chapter.notebook,
            timeout=CELL_TIMEOUT_S,
            resources={"metadata": {"path": str(chapter.path.parent)}},
            on_cell_start=self._at_cell,
            record_timing=False,  # the times would become part of what the cache compares
            extra_arguments=["--log-level=ERROR"],  # no notice about how the kernel is connected
        )

    def _at_cell(self, cell, cell_index):
        if cell.cell_type == "code":
            self.index = cell_index
            number = self.code_cells.index(cell_index) + 1
            self.progress.at(self.chapter, number, len(self.code_cells))

    async def outcome(self) -> tuple[str | None, float]:
        """What went wrong, if anything did, and the seconds that it took."""
        self.progress.start(self.chapter)
        started = time.perf_counter()
        failure = None
        try:
            # Tells the package that a false claim stops the run, and who uses which weights.
            await self.client.async_execute(
                env={**os.environ, "ASSIMILATION_BOOK": self.chapter.title}
            )
        except CellExecutionError as error:
            outputs = self.chapter.notebook.cells[self.index].outputs
            lines = [line for output in outputs for line in output.get("traceback", [])]
            failure = "\n".join(lines) or f"{error.ename}: {error.evalue}"
        except Exception as error:  # a dead kernel, for one; the other chapters go on
            failure = f"{type(error).__name__}: {error}"
        seconds = time.perf_counter() - started
        ending = "FAILED after" if failure else "ran in"
        self.progress.end(self.chapter, f"{ending} {seconds:.0f} s")
        return failure and self._located(failure), seconds

    def _located(self, failure: str) -> str:
        notebook, index = self.chapter.notebook, self.index
        lines = notebook.cells[index].source.splitlines()
        shown = "\n".join(f"    {line}" for line in lines[:8] + ["..."] * (len(lines) > 8))
        where = f"code cell {self.code_cells.index(index) + 1} of {len(self.code_cells)}"
        line_number = notebook.metadata.source_map[index] + 1
        place = f"{self.chapter.name}, line {line_number}: {where} failed:\n{shown}"
        return f"{without_colours(failure)}\n\n{place}"

    async def kill(self) -> None:
        """Ends the kernel at once: one that computes would not hear a request to stop."""
        if self.client.km is not None:
            await self.client.km.shutdown_kernel(now=True)


def without_colours(text: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def run_chapters(book: Path, chapters: list[Chapter], cache, fingerprint: str) -> list[str]:
    """Runs `chapters` and puts those that succeed into the cache. Returns what went wrong."""
    progress = Progress(len(chapters))
    problems, under_way = [], []

    async def run(chapter):
        if progress.stopped:
            return
        weights.forget(book, chapter)
        one = Run(chapter, progress)
        under_way.append(one)
        failure, seconds = await one.outcome()
        under_way.remove(one)
        if failure:
            problems.append(failure)
            return
        forget_page(book, chapter)
        for record in cache.list_cache_records():  # of what the chapter was before
            if record.uri == str(chapter.path):
                cache.remove_cache(record.pk)
        data = {"execution_seconds": seconds, "fingerprint": fingerprint}
        bundle = CacheBundleIn(chapter.notebook, str(chapter.path), data=data)
        cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)

    async def run_all():
        places = asyncio.Semaphore(AT_A_TIME)

        async def run_in_turn(chapter):
            async with places:
                await run(chapter)

        longest_first = sorted(chapters, key=lambda chapter: -chapter.seconds)
        await asyncio.gather(*(run_in_turn(one) for one in longest_first if not one.alone))
        for chapter in longest_first:
            if chapter.alone:
                await run(chapter)

    _wait_for(run_all(), progress, under_way)
    return problems


def _wait_for(work, progress: Progress, under_way: list[Run]) -> None:
    """Awaits a coroutine in another thread, and ends all kernels at an interrupt.

    In the main thread each kernel's client would take the interrupt for itself and end no other.
    """

    async def stop():
        for run in list(under_way):
            await run.kill()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(work, loop).result()
    except KeyboardInterrupt:
        names = ", ".join(run.chapter.name for run in under_way)
        progress.stop()
        asyncio.run_coroutine_threadsafe(stop(), loop).result()
        sys.exit(f"{names}: interrupted")
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
