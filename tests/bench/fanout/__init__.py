"""Parts of `bench_hub`: the servers that are compared, the load client, the rows of the table."""
