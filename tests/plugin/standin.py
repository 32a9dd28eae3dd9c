"""A child process that looks like a training from outside; nothing is trained."""

import os
import signal
import sys
import time

from unimiss.errors import JobError
from unimiss.runs.writer import RunWriter


def main(run: str, behaviour: str) -> int:
    if behaviour == "refuse":
        sys.stderr.write("Note: a test.\nunimiss: the folder holds no images; choose another one.\n")
        return 2
    if behaviour == "traceback":
        raise ZeroDivisionError("by a test")
    with RunWriter(run) as writer:
        writer.save_config({"by": "a test"})
        if behaviour == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if behaviour == "disk full":
            raise JobError("the disk is full; make room and resume the run")
        steps = 20 if behaviour == "short" else 6000
        for step in range(1, steps + 1):
            writer.event("metrics", step=step, loss=3.0 / step**0.5, lr=1e-3)
            if step % 10 == 0:
                writer.event("metrics", step=step, dice=step / (step + 10))
            writer.progress(
                step / steps, stage="training", step=step, steps=steps, remaining_s=(steps - step) * 0.05
            )
            if writer.should_stop() and behaviour != "deaf":
                writer.run.last.mkdir(parents=True)
                writer.event("checkpoint", step=step, path=str(writer.run.last))
                writer.event("stopped", step=step)
                return 0
            time.sleep(0.02)
        writer.event("finished")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
