// nextflow run docs/cluster/main.nf --list /data/cases.csv --out /data/maps --shards 40
params.shards = 40
process shard {
    input: val i
    output: val i
    script:
    "perfmap predict ${params.list} -o ${params.out} --shard $i/${params.shards} --partial-ok --quiet"
}
process merge {
    input: val done
    script: "perfmap merge ${params.out} --partial-ok --quiet"
}
workflow { merge(shard(Channel.of(1..params.shards)).collect()) }
