// Whole messages for every class of fault, as a user sees them. Each case changes one line of a
// sound scenario, so that a message is of that change alone.
#include "stackbench/scenario/reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.h"
#include "stackbench/scenario/sound_scenario.h"

namespace stackbench {
namespace {

// The faults of the sound scenario with one line replaced: without the excerpts, if they are as
// they should be, and without the count.
std::string faults_of(int line, std::string_view replacement) {
  auto message = message_of(with_line(line, replacement));
  const auto excerpt = fmt::format("\n{:>5} | {}\n      | ", line, replacement);
  for (auto at = message.find(excerpt); at != std::string::npos; at = message.find(excerpt)) {
    message.erase(at, message.find('^', at) + 1 - at);
  }
  return message.substr(0, message.rfind('\n'));
}

TEST(Reader, TakesASoundScenario) {
  const auto scenario = parse_scenario(sound, "s.yaml", {});
  ASSERT_TRUE(scenario) << scenario.error().message;
  EXPECT_EQ(scenario->question, "Does it hold?");
  EXPECT_EQ(scenario->topology.pods.at("web").replicas, 3);
  EXPECT_EQ(scenario->expect.at(0).at_least, Bound(base::RequestRate{100}));
}

TEST(Reader, ShowsTheLineTheCaretAndTheCount) {
  EXPECT_EQ(message_of(with_line(13, "  - {kind: tcp_rr, duration: 30}")),
            "s.yaml:13:30: workloads[0].duration: expected a duration such as 30s or 250ms, got "
            "\"30\"\n"
            "   13 |   - {kind: tcp_rr, duration: 30}\n"
            "      |                              ^\n"
            "1 error in s.yaml");
}

TEST(Reader, NamesAllFaultsAtOnceByPlace) {
  EXPECT_EQ(
      message_of("question: yes\n"
                 "topology:\n"
                 "  pods: {client: {node: 1}, web: {nod: 2}}\n"
                 "arms:\n"
                 "  - {name: direct, dial: pod/wbe}\n"
                 "workloads:\n"
                 "  - {kind: tcp_rr, connections: 010}\n"
                 "blocks: 5\n"),
      R"(s.yaml:1:11: question: expected text, got yes, which some YAML readers do not take for text; quote it: "yes"
    1 | question: yes
      |           ^
s.yaml:3:35: topology.pods.web.nod: unknown field; did you mean "node"?
    3 |   pods: {client: {node: 1}, web: {nod: 2}}
      |                                   ^
s.yaml:5:26: arms[0].dial: unknown group of pods "wbe"; did you mean "web"?
    5 |   - {name: direct, dial: pod/wbe}
      |                          ^
s.yaml:7:33: workloads[0].connections: expected an integer, got 010: a leading zero means octal to some YAML readers; write 10
    7 |   - {kind: tcp_rr, connections: 010}
      |                                 ^
s.yaml:8:9: blocks: expected at least 6, got 5. Kept blocks; in each every arm runs twice. Below 6 no exact two-sided 95 % interval exists.
    8 | blocks: 5
      |         ^
5 errors in s.yaml)");
}

TEST(Reader, OfAnEmptyFileSaysHowToBegin) {
  for (const auto* text : {"", "# nothing yet\n"}) {
    EXPECT_EQ(message_of(text),
              "s.yaml: empty, expected a scenario\n"
              "  A scenario says at least its question, topology, arms and workloads; "
              "scenarios/smoke.yaml is one to start from.");
  }
}

TEST(Reader, OfAFileThatIsNoScenarioSaysWhatItIs) {
  EXPECT_EQ(message_of("just text\n"),
            "s.yaml:1:1: expected a map, got \"just text\"\n    1 | just text\n      | ^\n"
            "1 error in s.yaml");
  EXPECT_EQ(message_of("{}\n"),
            R"(s.yaml:1:1: question: missing: The question it answers.
    1 | {}
      | ^
s.yaml:1:1: topology: missing: Pods and Services.
    1 | {}
      | ^
s.yaml:1:1: arms: missing: The configurations it compares.
    1 | {}
      | ^
s.yaml:1:1: workloads: missing: The traffic each arm carries.
    1 | {}
      | ^
4 errors in s.yaml)");
}

TEST(Reader, PlacesSyntaxErrorsLikeAllOthers) {
  EXPECT_EQ(message_of(with_line(12, "workloads: [")),
            "s.yaml:13:3: not YAML: did not find expected node content\n"
            "   13 |   - {kind: tcp_rr}\n"
            "      |   ^\n"
            "1 error in s.yaml");
}

TEST(Reader, LooksUpNames) {
  EXPECT_EQ(
      faults_of(4, "  services: {web: {target: wed}}"),
      "s.yaml:4:28: topology.services.web.target: unknown group of pods \"wed\"; did you mean "
      "\"web\"?");
  EXPECT_EQ(
      faults_of(10, "  - {name: pod_ip, in: nftables, dial: pod/web}"),
      "s.yaml:10:24: arms[1].in: unknown environment \"nftables\"; known here: rules, socket");
  EXPECT_EQ(faults_of(10, "  - {name: pod_ip, in: socket, dial: pod/db}"),
            "s.yaml:10:38: arms[1].dial: unknown group of pods \"db\"; known here: client, web");
  EXPECT_EQ(faults_of(11, "  - {name: cluster_ip, in: socket, dial: service/wep}"),
            "s.yaml:11:42: arms[2].dial: unknown Service \"wep\"; did you mean \"web\"?");
  EXPECT_EQ(faults_of(9, "  - {name: direct, dial: pod/web, from: clint}"),
            "s.yaml:9:41: arms[0].from: unknown group of pods \"clint\"; did you mean \"client\"?");
  EXPECT_EQ(faults_of(9, "  - {name: direct, dial: pod/web, relative_to: podip}"),
            "s.yaml:9:48: arms[0].relative_to: unknown arm \"podip\"; did you mean \"pod_ip\"?");
  EXPECT_EQ(faults_of(18, "  - {metric: rate, workload: tcp_rr, arm: dirct, at_least: 1/s}"),
            "s.yaml:18:43: expect[0].arm: unknown arm \"dirct\"; did you mean \"direct\"?");
  EXPECT_EQ(faults_of(19, "faults: [{kind: hook_left_out, environment: sockets}]"),
            "s.yaml:19:45: faults[0].environment: unknown environment \"sockets\"; did you mean "
            "\"socket\"?");
}

TEST(Reader, BlamesOnlyTheFaultItself) {
  // The arm, the environment and the pod group named further down are all right.
  EXPECT_EQ(faults_of(9, "  - {nme: direct, dial: pod/web}"),
            "s.yaml:9:5: arms[0].name: missing: What the report calls it.\n"
            "s.yaml:9:6: arms[0].nme: unknown field; did you mean \"name\"?");
  EXPECT_EQ(faults_of(5, "environment:"),
            "s.yaml:5:1: environment: unknown field; did you mean \"environments\"?");
  EXPECT_EQ(faults_of(3, "  pods: [client, web]"),
            "s.yaml:3:9: topology.pods: expected a map, got a list");
  EXPECT_EQ(faults_of(13, "  - {kind: tcp_rx}"),
            "s.yaml:13:12: workloads[0].kind: expected one of tcp_rr, tcp_crr, udp_rr, http, "
            "tcp_stream, udp_stream, tls_handshake, http2, got "
            "\"tcp_rx\"; did "
            "you mean \"tcp_rr\"?");
}

TEST(Reader, RefusesFillersThatCostNothingOrTakeANameThatIsThere) {
  EXPECT_EQ(faults_of(6, "  rules: {datapath: direct, filler: 5}"),
            "s.yaml:6:37: environments.rules.filler: datapath direct implements no Services, so "
            "others beside them cost nothing");
  EXPECT_EQ(faults_of(6, "  rules: {datapath: iptables, filler: 20001}"),
            "s.yaml:6:39: environments.rules.filler: expected at most 20000, got 20001. Other "
            "Services loaded beside the topology's, half of them called filler-NNNNN, half "
            "other-NNNNN; rules stand in order of name.");
  const auto named = with_line(4, "  services: {web: {target: web}, other-x: {target: web}}");
  EXPECT_THAT(message_of(named, {"environments.rules.filler=5"}),
              testing::HasSubstr("the topology's Service \"other-x\" is named as fillers are"));
  EXPECT_EQ(message_of(named), "no fault");
}

TEST(Reader, RefusesPoliciesThatWouldDenyWhatArmsSay) {
  EXPECT_EQ(faults_of(6, "  rules: {datapath: iptables, filler_policies: 10}"), "no fault");
  EXPECT_EQ(faults_of(6, "  rules: {datapath: iptables, filler_policies: 10001}"),
            "s.yaml:6:48: environments.rules.filler_policies: expected at most 10000, got 10001. "
            "How many NetworkPolicies there are: half of them are among those every pod's packets "
            "are judged by, the last allows what the arms say. 0: policies are enforced and there "
            "is none. Absent: nothing of that.");
  const auto elsewhere =
      message_of(sound, {"environments.rules.filler_policies=1", "topology.namespaces={shop: {}}",
                         "topology.pods.web.namespace=shop"});
  EXPECT_THAT(elsewhere, testing::HasSubstr("these policies are in namespace default, and the pods "
                                            "\"web\" are in \"shop\""));
  const auto outside =
      message_of(sound, {"environments.socket.filler_policies=1", "arms.1.from=external"});
  EXPECT_THAT(outside, testing::HasSubstr("comes from outside, and these policies allow pods "
                                          "alone"));
}

TEST(Reader, KeepsNamesToWhatReportsAndKubernetesAllow) {
  EXPECT_EQ(faults_of(9, "  - {name: Direct-1, dial: pod/web}"),
            "s.yaml:9:12: arms[0].name: expected a name of at most 63 characters out of a-z, 0-9 "
            "and _, got \"Direct-1\"");
  EXPECT_EQ(faults_of(6, "  net-rules: {datapath: iptables}"),
            "s.yaml:6:3: environments.net-rules: expected a name of at most 63 characters out of "
            "a-z, 0-9 and _, got \"net-rules\"");
  EXPECT_EQ(faults_of(6, "  direct: {datapath: iptables}"),
            "s.yaml:6:3: environments.direct: this name is kept for arms outside any environment; "
            "give it another");
  EXPECT_EQ(
      faults_of(3, "  pods: {client: {node: 1}, web: {}, my_db: {}}"),
      "s.yaml:3:38: topology.pods.my_db: expected a name of at most 60 characters out of a-z, "
      "0-9 and -, with no - at either end, got \"my_db\"");
  EXPECT_EQ(faults_of(4, "  services: {web: {target: web}, -x: {target: web}}"),
            "s.yaml:4:34: topology.services.-x: expected a name of at most 63 characters out of "
            "a-z, 0-9 and -, with no - at either end, got \"-x\"");
  EXPECT_EQ(faults_of(10, "  - {name: direct, in: socket, dial: pod/web}"),
            "s.yaml:10:12: arms[1].name: another arm above is called \"direct\"");
}

TEST(Reader, RefusesTopologiesThatCannotStand) {
  EXPECT_EQ(faults_of(3, "  pods: {client: {node: 1}, web: {node: 3}}"),
            "s.yaml:3:41: topology.pods.web.node: there is no node 3: topology.nodes is 2");
  EXPECT_EQ(
      faults_of(3, "  pods: {client: {node: 0}, web: {replicas: 101}}"),
      "s.yaml:3:25: topology.pods.client.node: expected at least 1, got 0. The node it runs "
      "on, counted from 1.\n"
      "s.yaml:3:45: topology.pods.web.replicas: expected at most 100, got 101. How many equal "
      "pods.");
  EXPECT_EQ(faults_of(4, "  services: {web: {target: web, type: ExternalName}}"),
            "s.yaml:4:39: topology.services.web.type: expected one of ClusterIP, NodePort, "
            "LoadBalancer, got \"ExternalName\"");
  EXPECT_EQ(faults_of(3, "  pods: {client: {node: 1}, web: {node: 2}, external: {node: 1}}"),
            "s.yaml:3:45: topology.pods.external: this name is kept for the client outside the "
            "cluster; give it another");
}

TEST(Reader, RefusesArmsThatReachNothing) {
  EXPECT_EQ(faults_of(9, "  - {name: direct, dial: service/web}"),
            "s.yaml:9:26: arms[0].dial: a Service needs an environment whose datapath implements "
            "it: say `in:`, or dial a pod");
  EXPECT_EQ(faults_of(7, "  socket: {datapath: direct}"),
            "s.yaml:11:42: arms[2].dial: the datapath of environment \"socket\" is direct, which "
            "implements no Services\n"
            "   11 |   - {name: cluster_ip, in: socket, dial: service/web}\n"
            "      |                                          ^");
  EXPECT_EQ(faults_of(9, "  - {name: direct, dial: pod/client}"),
            "s.yaml:9:26: arms[0].dial: the pods \"client\" would dial themselves; measure between "
            "two groups");
  EXPECT_EQ(faults_of(9, "  - {name: direct, dial: pod/web, relative_to: direct}"),
            "s.yaml:9:48: arms[0].relative_to: an arm cannot be compared with itself");
  EXPECT_EQ(faults_of(9, "  - {name: direct, dial: web}"),
            "s.yaml:9:26: arms[0].dial: expected pod/web, service/web, node_port/web@2 or "
            "load_balancer/web, got \"web\"");
  for (const std::string text : {"node_port/web", "node_port/web@0", "node_port/web@1x",
                                 "node_port/web@", "load_balancer/web@1", "cluster_ip/web"}) {
    EXPECT_EQ(faults_of(9, "  - {name: direct, dial: " + text + "}"),
              "s.yaml:9:26: arms[0].dial: expected pod/web, service/web, node_port/web@2 or "
              "load_balancer/web, got \"" +
                  text + "\"");
  }
}

// The scenario's second environment translates in sockets.
TEST(Reader, RefusesPathsThatAServiceDoesNotHave) {
  const auto arm = [](const std::string& rest) {
    return faults_of(11, "  - {name: cluster_ip, in: socket, " + rest + "}");
  };
  EXPECT_EQ(arm("dial: node_port/web@1"),
            "s.yaml:11:42: arms[2].dial: Service \"web\" is of type ClusterIP and has no port at "
            "nodes: give it type NodePort or LoadBalancer");
  EXPECT_EQ(arm("dial: load_balancer/web"),
            "s.yaml:11:42: arms[2].dial: Service \"web\" is of type ClusterIP and has no load "
            "balancer's address: give it type LoadBalancer");
  EXPECT_EQ(arm("dial: service/web, from: external"),
            "s.yaml:11:42: arms[2].dial: a ClusterIP is not routed outside the cluster: dial "
            "node_port or load_balancer");
}

TEST(Reader, RefusesClientsOutsideThatNobodyWouldAnswer) {
  const auto faults = [](std::string_view datapath, std::string_view dial, std::string_view more) {
    return message_of(
        fmt::format("question: Q?\n"
                    "topology:\n"
                    "  pods: {{client: {{}}, web: {{node: 2}}}}\n"
                    "  services: {{web: {{target: web, type: LoadBalancer{}}}}}\n"
                    "environments: {{it: {{datapath: {}}}}}\n"
                    "arms: [{{name: outside, in: it, dial: {}, from: external}}]\n"
                    "workloads: [{{kind: tcp_rr}}]\n",
                    more, datapath, dial));
  };
  const std::string local = ", external_traffic_policy: Local";
  EXPECT_EQ(faults("nftables", "load_balancer/web", ""), "no fault");
  EXPECT_EQ(faults("nftables", "node_port/web@1", ""), "no fault");
  EXPECT_EQ(faults("nftables", "node_port/web@2", local), "no fault");
  EXPECT_THAT(faults("nftables", "node_port/web@1", local),
              ::testing::HasSubstr("arms[0].dial: nothing would answer: external_traffic_policy of "
                                   "\"web\" is Local and its pods are on node 2\n"));
  EXPECT_THAT(faults("nftables", "node_port/web@3", ""),
              ::testing::HasSubstr("arms[0].dial: there is no node 3, topology.nodes is 2\n"));
  // ebpf_socket is paired with ebpf_tc for them.
  EXPECT_EQ(faults("ebpf_socket", "load_balancer/web", ""), "no fault");
  EXPECT_EQ(faults("ebpf_tc", "load_balancer/web", ""), "no fault");
}

TEST(Reader, RefusesEmptyLists) {
  const auto rest = std::string("question: Q?\ntopology: {pods: {client: {}, web: {}}}\n");
  EXPECT_EQ(message_of(rest + "arms: []\nworkloads: []\n"),
            "s.yaml:3:7: arms: expected at least one arm, got none\n    3 | arms: []\n"
            "      |       ^\n"
            "s.yaml:4:12: workloads: expected at least one workload, got none\n"
            "    4 | workloads: []\n      |            ^\n2 errors in s.yaml");
  EXPECT_EQ(
      faults_of(1, "question: \"\""),
      "s.yaml:1:11: question: expected the question this scenario answers, got an empty text");
}

TEST(Reader, RefusesWorkloadsThatCannotBeMeasured) {
  EXPECT_EQ(faults_of(13, "  - {kind: tcp_rr, wait: hybrid}"),
            "s.yaml:13:26: workloads[0].wait: hybrid sleeps until shortly before the next request "
            "is due, and a closed loop has no due times; give a rate, or wait by block or spin");
  EXPECT_EQ(faults_of(13, "  - {kind: tcp_rr, request: 15B, response: 65MiB}"),
            "s.yaml:13:29: workloads[0].request: expected between 16B (the header every message "
            "carries) and 64MiB, got 15B\n"
            "s.yaml:13:44: workloads[0].response: expected between 16B (the header every message "
            "carries) and 64MiB, got 65MiB");
  EXPECT_EQ(faults_of(14, "  - {kind: udp_rr, request: 65507B, response: 64KiB}"),
            "s.yaml:14:47: workloads[1].response: expected between 16B (the header every message "
            "carries) and 65507B (one datagram), got 64KiB");
  EXPECT_EQ(faults_of(14, "  - {kind: http, response: 65MiB}"),
            "s.yaml:14:28: workloads[1].response: expected between 0B and 64MiB, got 65MiB");
  EXPECT_EQ(
      faults_of(14, "  - {kind: tcp_crr, keep_alive: true}"),
      "s.yaml:14:33: workloads[1].keep_alive: only http and http2 can do either: tcp_crr opens a "
      "connection for each request");
  EXPECT_EQ(
      faults_of(14, "  - {kind: udp_rr, keep_alive: false}"),
      "s.yaml:14:32: workloads[1].keep_alive: only http and http2 can do either: udp_rr keeps its "
      "connections");
  EXPECT_EQ(faults_of(13, "  - {kind: tcp_rr, duration: 0s, warm_up: 0s, timeout: 2m}"),
            "s.yaml:13:30: workloads[0].duration: expected between 1ms and 60s, got 0s\n"
            "s.yaml:13:56: workloads[0].timeout: expected between 1ms and 60s, got 120s");
  EXPECT_EQ(faults_of(14, "  - {kind: tcp_crr, rate: 0/s}"),
            "s.yaml:14:27: workloads[1].rate: expected more than 0/s and at most 10000000/s");
  EXPECT_EQ(faults_of(14, "  - {kind: tcp_crr, rate: 3/s}"),
            "s.yaml:14:27: workloads[1].rate: not one request falls into a duration of 300ms at "
            "this rate");
  EXPECT_EQ(faults_of(14, "  - {kind: tcp_crr, connections: 5000}"),
            "s.yaml:14:34: workloads[1].connections: expected at most 4096, got 5000. Connections "
            "used at once; for UDP, sockets with a local port each.");
}

TEST(Reader, RefusesOfAStreamWhatItHasNot) {
  EXPECT_EQ(faults_of(14, "  - {kind: udp_stream}"),
            "s.yaml:14:5: workloads[1].rate: missing: nothing holds datagrams back that nobody "
            "answers; say how many a second, such as 20000/s");
  EXPECT_EQ(faults_of(14, "  - {kind: udp_stream, rate: 100/s, response: 64B}"),
            "s.yaml:14:47: workloads[1].response: a udp_stream goes one way: nothing is replied to "
            "it; leave response out");
  EXPECT_EQ(faults_of(14, "  - {kind: tcp_stream, response: 64B}"),
            "s.yaml:14:34: workloads[1].response: a tcp_stream goes one way: nothing is replied to "
            "it; leave response out");
  EXPECT_EQ(faults_of(14, "  - {kind: udp_stream, rate: 100/s, request: 31B}"),
            "s.yaml:14:46: workloads[1].request: expected between 32B (the header every message "
            "carries) and 65507B (one datagram), got 31B");
  EXPECT_EQ(faults_of(14, "  - {kind: udp_stream, rate: 100/s, gso: off}"),
            "s.yaml:14:42: workloads[1].gso: a udp_stream has no segments worth switching it for: "
            "only tcp_stream takes it");
  EXPECT_EQ(faults_of(14, "  - {kind: tcp_stream, gso: maybe}"),
            "s.yaml:14:29: workloads[1].gso: expected one of off, on, got \"maybe\"");
  EXPECT_EQ(faults_of(14, "  - {kind: tcp_stream, gso: off}"), "no fault");
  EXPECT_EQ(faults_of(14, "  - {kind: udp_stream, rate: 100/s}"), "no fault");
}

TEST(Reader, HoldsStreamsToMetricsOfTheirs) {
  const auto faults = [](std::string_view workload, std::string_view expect) {
    auto text = with_line(14, fmt::format("  - {{kind: {}}}", workload));
    const std::string before = "  - {metric: rate, workload: tcp_rr, arm: direct, at_least: 100/s}";
    text.replace(text.find(before), before.size(), expect);
    const auto message = message_of(text);
    return message.substr(0, message.find('\n'));
  };
  EXPECT_EQ(faults("tcp_stream",
                   "  - {metric: latency.p50, workload: tcp_stream, arm: direct, at_most: 1ms}"),
            "s.yaml:18:14: expect[0].metric: tcp_stream has no latency.p50: it has throughput, "
            "cpu_per_gb");
  EXPECT_EQ(faults("udp_stream, rate: 100/s",
                   "  - {metric: throughput, workload: udp_stream, arm: direct, at_least: 1MB/s}"),
            "s.yaml:18:14: expect[0].metric: udp_stream has no throughput: it has rate, "
            "cpu_per_request, jitter");
  EXPECT_EQ(
      faults("tcp_stream", "  - {metric: jitter, workload: tcp_rr, arm: direct, at_most: 1ms}"),
      "s.yaml:18:14: expect[0].metric: tcp_rr has no jitter: it has latency.p50, "
      "latency.p90, latency.p99, rate, cpu_per_request, proxy_cpu_per_request");
  EXPECT_EQ(faults("tcp_stream",
                   "  - {metric: throughput, workload: tcp_stream, arm: direct, at_least: 100/s}"),
            "s.yaml:18:71: expect[0].at_least: throughput is held to a data rate such as 500MB/s "
            "or a percentage, got 100/s");
  EXPECT_EQ(faults("tcp_stream, wait: spin",
                   "  - {metric: cpu_per_gb, workload: tcp_stream, arm: direct, at_most: 1s}"),
            "s.yaml:18:14: expect[0].metric: a workload that spins burns its core whatever a "
            "request costs; give it wait: block");
  for (const auto* expect :
       {"  - {metric: throughput, workload: tcp_stream, arm: direct, at_least: 500MB/s}",
        "  - {metric: cpu_per_gb, workload: tcp_stream, arm: direct, at_most: 900ms}"}) {
    EXPECT_EQ(faults("tcp_stream", expect), "no fault");
  }
  EXPECT_EQ(faults("udp_stream, rate: 100/s",
                   "  - {metric: jitter, workload: udp_stream, arm: direct, at_most: 1ms}"),
            "no fault");
}

TEST(Reader, RefusesExpectationsThatCannotBeDecided) {
  EXPECT_EQ(
      faults_of(18, "  - {metric: rate, workload: tcp_rr, arm: direct}"),
      "s.yaml:18:5: expect[0]: expected exactly one of at_most, at_least and within, got none");
  EXPECT_EQ(faults_of(18,
                      "  - {metric: rate, workload: tcp_rr, arm: direct, at_most: 9/s, at_least: "
                      "1/s}"),
            "s.yaml:18:5: expect[0]: expected exactly one of at_most, at_least and within, got "
            "at_most and at_least");
  EXPECT_EQ(
      faults_of(18, "  - {metric: rate, workload: tcp_rr, arm: direct, at_most: +5%}"),
      "s.yaml:18:60: expect[0].at_most: a percentage needs relative_to, the arm it is a share "
      "of");
  EXPECT_EQ(faults_of(18, "  - {metric: rate, workload: tcp_rr, arm: direct, within: 3%}"),
            "s.yaml:18:59: expect[0].within: a percentage needs relative_to, the arm it is a share "
            "of");
  EXPECT_EQ(faults_of(18,
                      "  - {metric: rate, workload: tcp_rr, arm: direct, relative_to: pod_ip, "
                      "within: -3%}"),
            "s.yaml:18:80: expect[0].within: expected more than 0% and less than 100%");
  EXPECT_EQ(faults_of(18,
                      "  - {metric: rate, workload: tcp_rr, arm: direct, relative_to: pod_ip, "
                      "at_least: -100%}"),
            "s.yaml:18:82: expect[0].at_least: expected more than -100%: nothing falls below 0");
  EXPECT_EQ(faults_of(18,
                      "  - {metric: rate, workload: tcp_rr, arm: direct, relative_to: direct, "
                      "at_most: 5%}"),
            "s.yaml:18:64: expect[0].relative_to: an arm cannot be compared with itself");
  EXPECT_EQ(faults_of(18,
                      "  - {metric: rate, workload: tcp_rr, arm: direct, relative_to: pod_ip, "
                      "at_most: 5/s}"),
            "s.yaml:18:64: expect[0].relative_to: at_most is absolute and is compared with no arm; "
            "give a percentage, or leave relative_to out");
  EXPECT_EQ(faults_of(18, "  - {metric: rate, workload: tcp_rr, arm: direct, at_most: 5ms}"),
            "s.yaml:18:60: expect[0].at_most: rate is held to a rate such as 1000/s or a "
            "percentage, got 5ms");
  EXPECT_EQ(faults_of(18, "  - {metric: latency.p50, workload: tcp_rr, arm: direct, at_most: 5/s}"),
            "s.yaml:18:67: expect[0].at_most: latency.p50 is held to a duration such as 250us or a "
            "percentage, got 5/s");
  EXPECT_EQ(faults_of(18, "  - {metric: latency.p50, workload: tcp_rr, arm: direct, at_most: 0s}"),
            "s.yaml:18:67: expect[0].at_most: expected more than 0");
  EXPECT_EQ(faults_of(18, "  - {metric: latency.p50, workload: tcp_rr, arm: direct, at_most: 5}"),
            "s.yaml:18:67: expect[0].at_most: expected a bound such as +5%, 250us, 1000/s or "
            "500MB/s, got \"5\"");
  EXPECT_EQ(faults_of(18, "  - {metric: connect.p50, workload: tcp_rr, arm: direct, at_most: 1ms}"),
            "s.yaml:18:14: expect[0].metric: tcp_rr has no connects to time here: tcp_crr has, "
            "and http and http2 with keep_alive: false");
}

TEST(Reader, RefusesCpuPerRequestOfAWorkloadThatSpins) {
  const auto text =
      with_line(18, "  - {metric: cpu_per_request, workload: tcp_rr, arm: direct, at_most: 9us}");
  EXPECT_TRUE(parse_scenario(text, "s.yaml", {}));
  const auto spinning = parse_scenario(text, "s.yaml", {"workloads.0.wait=spin"});
  ASSERT_FALSE(spinning);
  EXPECT_THAT(
      spinning.error().message,
      ::testing::HasSubstr("s.yaml:18:14: expect[0].metric: a workload that spins burns its core "
                           "whatever a request costs; give it wait: block"));
}

TEST(Reader, WantsToKnowWhichWorkloadAnExpectationIsAbout) {
  EXPECT_EQ(faults_of(18, "  - {metric: rate, arm: direct, at_least: 1/s}"),
            "s.yaml:18:5: expect[0].workload: missing: the scenario has several workloads (tcp_rr, "
            "tcp_crr)");
  EXPECT_EQ(faults_of(14, "  - {kind: tcp_rr, rate: 500/s}"),
            "s.yaml:18:30: expect[0].workload: the scenario has 2 workloads of kind tcp_rr, and an "
            "expectation cannot tell them apart; split the scenario\n"
            "   18 |   - {metric: rate, workload: tcp_rr, arm: direct, at_least: 100/s}\n"
            "      |                              ^");
  EXPECT_EQ(faults_of(13, "  - {kind: tcp_crr}"),
            "s.yaml:18:30: expect[0].workload: no workload of this scenario is a tcp_rr; known "
            "here: tcp_crr, tcp_crr_2\n"
            "   18 |   - {metric: rate, workload: tcp_rr, arm: direct, at_least: 100/s}\n"
            "      |                              ^");
}

TEST(Reader, RefusesMoreThanEightGates) {
  std::string expectations;
  for (int i = 0; i < 9; ++i) {
    expectations += "  - {metric: rate, workload: tcp_rr, arm: direct, at_least: 100/s}\n";
  }
  expectations.pop_back();
  EXPECT_EQ(
      message_of(with_line(18, expectations)),
      "s.yaml:26:5: expect[8]: expected at most 8 expectations, got 9: each more makes all of "
      "them harder to decide\n"
      "   26 |   - {metric: rate, workload: tcp_rr, arm: direct, at_least: 100/s}\n"
      "      |     ^\n1 error in s.yaml");
}

TEST(Reader, HttpHasConnectsToCountAndToTimeWhenItDoesNotKeepThem) {
  auto text = with_line(14, "  - {kind: http}");
  text.replace(text.find("checks: [translated_at]"), 23, "checks: [distribution] ");
  text.replace(text.find("metric: rate, workload: tcp_rr, arm: direct, at_least: 100/s"), 60,
               "metric: connect.p50, workload: http, arm: direct, at_most: 1ms");
  const auto kept = parse_scenario(text, "s.yaml", {});
  ASSERT_FALSE(kept);
  EXPECT_THAT(kept.error().message, ::testing::HasSubstr("distribution counts connections"));
  EXPECT_THAT(kept.error().message, ::testing::HasSubstr("http has no connects to time here"));
  const auto closed = parse_scenario(text, "s.yaml", {"workloads.1.keep_alive=false"});
  ASSERT_TRUE(closed) << closed.error().message;
  EXPECT_EQ(closed->workloads[1].request, base::Bytes{0});
  EXPECT_EQ(closed->workloads[1].response, base::Bytes{64});
  EXPECT_EQ(closed->workloads[1].keep_alive, std::optional(false));
  const auto by_default = parse_scenario(with_line(14, "  - {kind: http}"), "s.yaml", {});
  ASSERT_TRUE(by_default) << by_default.error().message;
  EXPECT_EQ(by_default->workloads[1].keep_alive, std::optional(true));
}

TEST(Reader, RefusesChecksAndFaultsThatSayNothing) {
  EXPECT_EQ(faults_of(16, "checks: [translated_at, translated_at]"),
            "s.yaml:16:25: checks[1]: \"translated_at\" is already among the checks");
  EXPECT_EQ(faults_of(19, "faults: [{kind: hook_left_out, environment: rules}]"),
            "s.yaml:19:45: faults[0].environment: hook_left_out leaves out the hooks of "
            "ebpf_socket, and the datapath of \"rules\" is iptables");
  EXPECT_EQ(faults_of(19,
                      "faults: [{kind: hook_left_out, environment: socket}, {kind: "
                      "hook_left_out, environment: socket}]"),
            "s.yaml:19:54: faults[1]: this fault is already listed");
  EXPECT_EQ(faults_of(19, "faults: [{kind: affinity_ignored, environment: rules}]"),
            "s.yaml:19:17: faults[0].kind: no Service has session_affinity ClientIP, so there is "
            "nothing to ignore");
  EXPECT_EQ(faults_of(19, "faults: [{kind: source_rewritten, environment: socket}]"), "no fault");
  EXPECT_EQ(faults_of(19, "faults: [{kind: connection_table_too_small, environment: rules}]"),
            "s.yaml:19:58: faults[0].environment: connection_table_too_small is about the table of "
            "ebpf_tc, and the datapath of \"rules\" is iptables");
  EXPECT_EQ(faults_of(19, "faults: [{kind: connection_table_too_small, environment: socket}]"),
            "s.yaml:19:17: faults[0].kind: no arm dials a Service through the connection table of "
            "\"socket\"");
  EXPECT_EQ(faults_of(16, "checks: [connection_table]"),
            "s.yaml:16:10: checks[0]: connection_table watches the table of ebpf_tc, and no arm "
            "dials a Service through it");
  auto through_it = with_line(7, "  socket: {datapath: ebpf_tc}");
  through_it.replace(through_it.find("checks: [translated_at]"), 23, "checks: [connection_table]");
  through_it.replace(through_it.find("faults: []"), 10,
                     "faults: [{kind: connection_table_too_small, environment: socket}]");
  EXPECT_EQ(message_of(through_it), "no fault");
  auto direct = with_line(6, "  rules: {datapath: direct}");
  direct.replace(direct.find("faults: []"), 10,
                 "faults: [{kind: source_rewritten, environment: rules}]");
  EXPECT_THAT(message_of(direct),
              ::testing::HasSubstr("source_rewritten needs a datapath that translates, and the "
                                   "datapath of \"rules\" is direct\n"));
  auto kept = with_line(14, "  - {kind: udp_rr}");
  kept.replace(kept.find("checks: [translated_at]"), 23, "checks: [distribution] ");
  EXPECT_EQ(message_of(kept),
            "s.yaml:16:10: checks[0]: distribution counts connections, and every workload here "
            "keeps its own; add one that opens a connection for each request, tcp_crr, or http or "
            "http2 with keep_alive: false\n"
            "   16 | checks: [distribution] \n"
            "      |          ^\n1 error in s.yaml");
  auto unused = with_line(6, "  rules: {datapath: ebpf_socket}");
  unused.replace(unused.find("faults: []"), 10,
                 "faults: [{kind: hook_left_out, environment: rules}]");
  EXPECT_EQ(message_of(unused),
            "s.yaml:19:45: faults[0].environment: no arm enters \"rules\", so nobody would notice\n"
            "   19 | faults: [{kind: hook_left_out, environment: rules}]\n"
            "      |                                             ^\n1 error in s.yaml");
}

}  // namespace
}  // namespace stackbench
