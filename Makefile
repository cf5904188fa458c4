# Shortcuts: each target calls one script or command, which takes options when it is called by itself.

.PHONY: all deploy gateway stop run_tests run_benchmark run_peer_test check clean clean_data

# The same selection as in scripts/lib.sh: with other packages cargo would choose other features, and `make deploy` would
# compile most of it again.
all: ## build the programs that deploy starts
	cargo build --release --locked -p dht-node --bin dht-node -p dht-cli --bin dht-cli

deploy: ## build, start eight nodes and show the cube
	scripts/deploy.sh

gateway: ## the same with the REST gateway on 127.0.0.1:8080
	scripts/deploy.sh --gateway

stop: ## end the nodes and the gateway
	scripts/deploy.sh stop

run_tests: ## all tests
	cargo test --workspace --locked

run_benchmark: ## latency and throughput of 1 to 1000 topics, with pictures
	scripts/benchmark.sh

run_peer_test: ## publish and read through every pair of nodes of a cube
	scripts/peer_test.sh

check: ## formatting, lints, documentation and all tests
	scripts/check.sh

clean: ## end the nodes, and remove build output and logs, but no record
	scripts/cleanup.sh --keep-records

clean_data: ## end the nodes, and remove their data, too
	scripts/cleanup.sh
