#!/usr/bin/env python3
"""The figures of a report, from the command to Prometheus and back.

    tests/prometheus_test.py STACKBENCH TOOLS REPORT

Runs itself in a network namespace of its own (as root), where Debian's Pushgateway and Prometheus,
unpacked in TOOLS, listen on loopback: the text file must please promtool, and what Prometheus answers
to queries must be what REPORT says. Every wait is for a condition, bounded.
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

PATIENCE = 60
GATEWAY = "127.0.0.1:9091"
PROMETHEUS = "127.0.0.1:9090"
RUN = "127.0.0.1:9464"
SCENARIO = """
question: What is served while it runs?
topology: {pods: {client: {node: 1}, web: {node: 2}}}
arms: [{name: direct, dial: pod/web}]
workloads: [{kind: tcp_rr, duration: 50ms, warm_up: 5ms}]
blocks: 600
"""
CONFIG = f"""
global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}
scrape_configs:
  - job_name: run
    honor_labels: true
    static_configs: [{{targets: ["{RUN}"]}}]
  - job_name: gateway
    honor_labels: true
    static_configs: [{{targets: ["{GATEWAY}"]}}]
"""


def main(stackbench, tools, report):
    if "INSIDE" not in os.environ:
        os.execvpe("unshare", ["unshare", "--net", "--", *sys.argv], {**os.environ, "INSIDE": "1"})
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    prometheus = tools / "prometheus/usr/bin/prometheus"
    promtool = tools / "prometheus/usr/bin/promtool"
    gateway = tools / "prometheus-pushgateway/usr/bin/prometheus-pushgateway"
    servers = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            (pathlib.Path(folder) / "config.yml").write_text(CONFIG, encoding="utf-8")
            check_refusal(stackbench, report)
            servers.append(start([gateway, f"--web.listen-address={GATEWAY}"], folder))
            servers.append(start([prometheus, f"--web.listen-address={PROMETHEUS}",
                                  f"--config.file={folder}/config.yml",
                                  f"--storage.tsdb.path={folder}/data"], folder))
            check_textfile(stackbench, promtool, report, folder)
            check_queries(stackbench, promtool, report, folder)
            check_serving(stackbench, promtool, folder)
        finally:
            for server in servers:
                server.kill()
                server.wait()


def start(command, folder):
    with open(pathlib.Path(folder) / f"{command[0].name}.log", "wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)


def until(what, condition):
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > deadline:
            sys.exit(f"not within {PATIENCE} s: {what}")
        time.sleep(0.1)
    return found


def check_refusal(stackbench, report):
    """With nobody there, the push is an error that says so."""
    done = subprocess.run([stackbench, "report", report, "--push-gateway", f"http://{GATEWAY}"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 2, done
    assert f"--push-gateway: {GATEWAY}: connect: Connection refused" in done.stderr, done.stderr


def check_textfile(stackbench, promtool, report, folder):
    """promtool finds nothing to complain of, and does of a file that was spoiled."""
    path = pathlib.Path(folder) / "it.prom"
    subprocess.run([stackbench, "report", report, "--prometheus-textfile", path], check=True,
                   stdout=subprocess.DEVNULL)
    text = path.read_text(encoding="utf-8")

    def lint(exposition):
        return subprocess.run([promtool, "check", "metrics"], input=exposition, text=True,
                              capture_output=True, check=False)

    sound = lint(text)
    assert sound.returncode == 0 and not sound.stdout + sound.stderr, sound
    spoiled = lint(text.replace("stackbench_run_duration_seconds", "stackbench_run_duration_ms"))
    assert spoiled.returncode != 0, "promtool let a unit pass that Prometheus does not use"


def ask(promtool, query):
    """The one value of a query, or None."""
    done = subprocess.run([promtool, "query", "instant", "--format=json",
                           f"http://{PROMETHEUS}", query],
                          capture_output=True, text=True, check=False)
    found = json.loads(done.stdout) if done.returncode == 0 and done.stdout else []
    return float(found[0]["value"][1]) if len(found) == 1 else None


def check_serving(stackbench, promtool, folder):
    """A run that goes on is scraped: its blocks grow, its figures are there; and it ends in order."""
    scenario = pathlib.Path(folder) / "served.yaml"
    scenario.write_text(SCENARIO, encoding="utf-8")
    command = [stackbench, "run", scenario, "--serve-metrics", RUN, "--out",
               pathlib.Path(folder) / "served.json"]
    kept = 'stackbench_run_blocks{scenario="served",state="kept"}'
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True) as run:
        until(f"{kept} grows", lambda: run.poll() is not None or (ask(promtool, kept) or 0) >= 2)
        assert run.poll() is None, run.stdout.read()
        latency = 'stackbench_latency_seconds{scenario="served",arm="direct",percentile="50"}'
        found = until(latency, lambda: ask(promtool, latency))
        assert 1e-6 < found < 1e-2, found
        assert ask(promtool, 'stackbench_run_complete{scenario="served"}') == 0
        for unknown in ("stackbench_run_exit_code", "stackbench_run_end_timestamp_seconds"):
            assert ask(promtool, unknown + '{scenario="served"}') is None, unknown
        second = subprocess.run(command, capture_output=True, text=True, check=False)
        assert second.returncode == 2, second
        assert f"--serve-metrics: cannot listen at {RUN}" in second.stderr, second.stderr
        run.send_signal(signal.SIGINT)
        text, _ = run.communicate(timeout=PATIENCE)
    assert run.returncode == 128 + signal.SIGINT, text


def check_queries(stackbench, promtool, report, folder):
    """Prometheus has what was pushed, and after a second push what was pushed then."""

    def value(query):
        return ask(promtool, query)

    def push(path):
        def pushed():
            return subprocess.run([stackbench, "report", path, "--push-gateway",
                                   f"http://{GATEWAY}/"], capture_output=True,
                                  check=False).returncode == 0
        until("the gateway takes a push", pushed)

    record = json.loads(pathlib.Path(report).read_text(encoding="utf-8"))
    push(report)
    compared = 0
    for estimate in record["estimates"]:
        if estimate["metric"] != "latency.p50":
            continue
        labels = (f'{{job="stackbench",scenario="kpr",arm="{estimate["arm"]}",'
                  f'workload="{estimate["workload"]}",percentile="50"}}')
        query = f"stackbench_latency_seconds{labels}"
        found = until(query, lambda query=query: value(query))
        assert abs(found - estimate["value"] / 1e9) < 1e-12, (query, found, estimate)
        compared += 1
    assert compared >= 6, compared
    failed = [check for check in record["checks"] if check["verdict"] == "fail"]
    query = 'count(stackbench_check_state{verdict="fail"} == 1)'
    assert (value(query) or 0) == len(failed), (query, value(query), failed)

    record["estimates"][0]["value"] *= 2
    changed = pathlib.Path(folder) / "changed.json"
    changed.write_text(json.dumps(record), encoding="utf-8")
    push(changed)
    first = record["estimates"][0]
    query = (f'stackbench_latency_seconds{{arm="{first["arm"]}",workload="{first["workload"]}",'
             f'percentile="50"}}')
    wanted = first["value"] / 1e9
    until(f"{query} is {wanted}", lambda: abs((value(query) or 0) - wanted) < 1e-12)


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]).resolve(), pathlib.Path(sys.argv[3]).resolve())
