#!/bin/bash
#SBATCH --array=1-40
#SBATCH --cpus-per-task=2
#SBATCH --mem=6G
# Once, before:   perfmap cases /data/studies -o /data/cases.csv
# Then:           sbatch --wait docs/cluster/slurm.sh && perfmap merge /data/maps
set -eu
LIST=${LIST:-/data/cases.csv}
OUT=${OUT:-/data/maps}
MODEL=${MODEL:-unet-gru}
exec perfmap predict "$LIST" -o "$OUT" --model "$MODEL" \
    --shard "$SLURM_ARRAY_TASK_ID/${SLURM_ARRAY_TASK_COUNT:-40}" \
    --threads "${SLURM_CPUS_PER_TASK:-2}" --partial-ok --quiet
