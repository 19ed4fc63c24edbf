"""Training throughput of ConvLSTM2D: perfmap's own against Keras' layer in the same network, on one core.

Both train the network of the paper at equal sizes: 128 × 128, 45 time points, widths 16-8-4-2 and a bottleneck of 1,
kernels of 3, batch normalisation after every recurrent layer, AdamW, mean squared error, float32. Steps alternate
within one run, so that what else the machine does falls on both alike. Processor time is what is compared: on a busy
machine wall-clock time says little.

Keras needs the extra `bench` (tensorflow-cpu). It may live in an environment of its own:

    python benchmarks/convlstm_against_keras.py --keras-python ~/keras/bin/python
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

WIDTHS, BOTTLENECK, N_TIMES, MATRIX = (16, 8, 4, 2), 1, 45, 128


def perfmap_step(batch: int) -> Callable[[], None]:
    """One step of training perfmap's network."""
    import torch

    from perfmap.engine.memory import keep_freed_memory
    from perfmap.models import build_network

    keep_freed_memory()  # as perfmap train does
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = build_network("convlstm", widths=WIDTHS, n_bottleneck=BOTTLENECK)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    curves, valid = torch.randn(batch, N_TIMES, MATRIX, MATRIX), torch.ones(batch, N_TIMES)
    target = torch.rand(batch, MATRIX, MATRIX)

    def step() -> None:
        loss = ((network(curves, valid) - target) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def keras_step(batch: int) -> Callable[[], None]:
    """One step of training the same network with Keras' ConvLSTM2D."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras
    import numpy as np
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    layers = keras.layers
    source = x = keras.Input((N_TIMES, MATRIX, MATRIX, 2))
    skips = []
    for width in WIDTHS:
        skips.append(layers.BatchNormalization()(layers.ConvLSTM2D(width, 3, strides=2, padding="same")(x)))
        x = layers.ConvLSTM2D(width, 3, strides=2, padding="same", return_sequences=True)(x)
        x = layers.BatchNormalization()(x)
    y = layers.BatchNormalization()(layers.ConvLSTM2D(BOTTLENECK, 3, padding="same")(x))
    for width, skip in zip(reversed(WIDTHS), reversed(skips), strict=True):
        y = layers.Conv2D(width, 3, padding="same", activation="relu")(layers.Concatenate()([y, skip]))
        y = layers.Conv2DTranspose(width, 2, strides=2)(y)
    model = keras.Model(source, layers.Conv2D(1, 1, activation="relu")(y))
    # XLA on a CPU compiles this network for minutes; Keras leaves it off for recurrent layers by itself.
    model.compile(optimizer=keras.optimizers.AdamW(1e-3), loss="mse", jit_compile=False)
    rng = np.random.default_rng(0)
    curves = rng.normal(size=(batch, N_TIMES, MATRIX, MATRIX, 2)).astype(np.float32)
    target = rng.random((batch, MATRIX, MATRIX, 1), dtype=np.float32)

    def step() -> None:
        model.train_on_batch(curves, target)

    return step


def serve(kind: str, batch: int) -> None:
    """Do one step for every line read, and say what it took: processor and wall-clock seconds."""
    step = {"perfmap": perfmap_step, "keras": keras_step}[kind](batch)
    step()
    print("ready", flush=True)
    for _ in sys.stdin:
        wall, processor = time.perf_counter(), time.process_time()
        step()
        print(time.process_time() - processor, time.perf_counter() - wall, flush=True)


def main() -> None:
    """Print both throughputs and their ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keras-python", default=sys.executable, help="interpreter that has tensorflow-cpu")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", choices=("perfmap", "keras"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.batch)
        return
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    workers = {}
    for kind, python in (("perfmap", sys.executable), ("keras", options.keras_python)):
        workers[kind] = subprocess.Popen(
            [python, __file__, "--serve", kind, "--batch", str(options.batch)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        while (line := workers[kind].stdout.readline()).strip() != "ready":
            if not line:
                sys.exit(f"{kind} did not start; see its message above")
    rows: dict[str, list[tuple[float, float]]] = {kind: [] for kind in workers}
    for number in range(options.rounds):
        for kind, worker in workers.items():
            worker.stdin.write("step\n")
            worker.stdin.flush()
            processor, wall = map(float, worker.stdout.readline().split())
            rows[kind].append((options.batch / processor, options.batch / wall))
        print(
            f"round {number + 1}: "
            + ", ".join(f"{kind} {row[-1][0]:.3f} slices per processor second" for kind, row in rows.items()),
            flush=True,
        )
    for worker in workers.values():
        worker.stdin.close()
        worker.wait()
    print("\n| | slices per processor second | slices per wall-clock second |\n|---|---|---|")
    for kind, row in rows.items():
        print(
            f"| {kind} | {statistics.median(p for p, _ in row):.3f} | {statistics.median(w for _, w in row):.3f} |"
        )
    ratios = [ours[0] / theirs[0] for ours, theirs in zip(rows["perfmap"], rows["keras"], strict=True)]
    print(
        f"\nratio, round by round: median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}"
    )


if __name__ == "__main__":
    main()
