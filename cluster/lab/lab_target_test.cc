// The lab in real namespaces: needs root.
#include "cluster/lab/lab_target.h"

#include <cerrno>
#include <set>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "cluster/lab/addresses.h"
#include "cluster/lab/lab_fixture.h"

namespace cluster {
namespace {

using base::AddressFamily;
using base::ErrorKind;
using base::Json;
using base::Result;
using base::UniqueFd;
using base::testing::Transport;
using testing::HasSubstr;
using testing::Not;

class Lab : public LabFixture {};

TEST_F(Lab, DirectTracksNoConnectionAndTranslatesNothing) {
  const auto environment = must(lab.provision(plan_of(DatapathKind::direct)));
  serve(environment);
  for (const auto& pod : environment.pods) {
    if (pod.group != "web") continue;
    EXPECT_EQ(answered_by("env", {pod.ipv4, tcp_target}, Transport::tcp, 1),
              std::set<std::string>{pod.name});
    EXPECT_EQ(answered_by("env", {pod.ipv6, udp_target}, Transport::udp, 1),
              std::set<std::string>{pod.name});
  }
  for (const auto* node : {"node1", "node2", "router", "client-0", "web-0"}) {
    EXPECT_EQ(tracked_flows("env", node), 0) << node;
    EXPECT_EQ(in_node("env", node, {"nft", "list", "ruleset"}), "") << node;
  }
  in_pod("env", "client-0", [&] {
    EXPECT_FALSE(ask_once({environment.services.at("web").ipv4, 8001}, Transport::tcp));
  });
}

// The twin of the test above: with rules the same count is not zero, so it can tell.
TEST_F(Lab, RulesTrackConnections) {
  const auto environment = must(lab.provision(plan_of(DatapathKind::iptables)));
  serve(environment);
  EXPECT_EQ(
      answered_by("env", {environment.services.at("web").ipv4, 8001}, Transport::tcp, 1).size(),
      1U);
  EXPECT_GT(tracked_flows("env", "node1"), 0);
}

TEST_F(Lab, TheHookTranslatesBeforeAnyRuleAndItsFaultDoesNot) {
  const auto tracked = [&](const std::string& name, std::vector<FaultKind> faults) {
    auto plan = plan_of(DatapathKind::ebpf_socket, name);
    plan.faults = std::move(faults);
    const auto environment = must(lab.provision(plan));
    serve(environment);
    EXPECT_EQ(
        answered_by(name, {environment.services.at("web").ipv4, 8001}, Transport::tcp, 1).size(),
        1U);
    return tracked_flows(name, "node1");
  };
  EXPECT_EQ(tracked("clean", {}), 0);
  EXPECT_GT(tracked("broken", {FaultKind::hook_left_out}), 0);
}

TEST_F(Lab, HasNoWayToTheHost) {
  must(lab.provision(plan_of(DatapathKind::direct)));
  // A server on every interface of the host that a careless lab would reach.
  const auto listener =
      must(base::testing::listen_at({must(base::IpAddress::parse("0.0.0.0")), 0}, Transport::tcp));
  const auto port = must(base::testing::local_of(listener.get())).port;
  const auto addresses =
      must(base::parse_json(must(base::run_for_output({"ip", "-j", "-4", "addr"}))));
  std::vector<base::Endpoint> host;
  for (const auto& link : addresses) {
    for (const auto& entry : link["addr_info"]) {
      host.push_back({must(base::IpAddress::parse(entry["local"].get<std::string>())), port});
    }
  }
  ASSERT_FALSE(host.empty());
  in_pod("env", "client-0", [&] {
    for (const auto& endpoint : host) {
      EXPECT_FALSE(base::testing::dial(endpoint, Transport::tcp)) << endpoint.to_string();
    }
  });
  for (const auto* place : {"client-0", "web-0", "node1", "node2", "external"}) {
    const auto links = must(base::parse_json(in_node("env", place, {"ip", "-j", "link"})));
    for (const auto& link : links) {
      const auto name = link["ifname"].get<std::string>();
      EXPECT_TRUE(name == "lo" || name == "eth0" || name.starts_with("pod")) << place << name;
    }
  }
  // The router is where every default route ends: it has none.
  EXPECT_THAT(in_node("env", "router", {"ip", "route"}), Not(HasSubstr("default")));
  EXPECT_THAT(in_node("env", "router", {"ip", "-6", "route"}), Not(HasSubstr("default")));
}

TEST_F(Lab, TheExternalClientReachesPodsThroughTheRouter) {
  const auto environment = must(lab.provision(plan_of(DatapathKind::iptables)));
  serve(environment);
  const auto* found = lab.environment("env");
  must(lab.sandbox()->inside(found->netns("external"), [&]() -> Result<> {
    for (const auto& pod : environment.pods) {
      if (pod.group != "web") continue;
      for (const auto family : {AddressFamily::ipv4, AddressFamily::ipv6}) {
        const auto answer = ask_once({pod.address(family), tcp_target}, Transport::tcp);
        EXPECT_EQ(answer.value_or("nobody"), pod.name);
      }
    }
    return {};
  }));
}

TEST_F(Lab, EnvironmentsOfTheSameAddressesNeverMeet) {
  const auto one = must(lab.provision(plan_of(DatapathKind::nftables, "one")));
  const auto two = must(lab.provision(plan_of(DatapathKind::nftables, "two")));
  ASSERT_EQ(one.pods[1].ipv4, two.pods[1].ipv4);
  serve(one);
  EXPECT_EQ(answered_by("one", {one.pods[1].ipv4, tcp_target}, Transport::tcp, 1).size(), 1U);
  in_pod("two", "client-0", [&] {
    const auto answer = ask_once({two.pods[1].ipv4, tcp_target}, Transport::tcp);
    ASSERT_FALSE(answer) << *answer;
    EXPECT_EQ(answer.error().code, ECONNREFUSED) << answer.error().message;
  });
}

TEST_F(Lab, ConnectionsUseCubicWhateverTheHostUses) {
  const auto environment = must(lab.provision(plan_of(DatapathKind::direct)));
  EXPECT_EQ(lab.facts()["congestion_control"], "cubic");
  for (const auto family : {AddressFamily::ipv4, AddressFamily::ipv6}) {
    const base::Endpoint server{environment.pods[1].address(family), tcp_target};
    UniqueFd listener, client;
    in_pod("env", "web-0",
           [&] { listener = must(base::testing::listen_at(server, Transport::tcp)); });
    in_pod("env", "client-0", [&] { client = must(base::testing::dial(server, Transport::tcp)); });
    const UniqueFd accepted(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    for (const int fd : {client.get(), accepted.get()}) {
      char algorithm[16] = {};
      socklen_t size = sizeof(algorithm);
      ASSERT_EQ(::getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, algorithm, &size), 0);
      EXPECT_STREQ(algorithm, "cubic");
    }
  }
}

TEST_F(Lab, NeighboursNeverExpire) {
  const auto environment = must(lab.provision(plan_of(DatapathKind::direct)));
  serve(environment);
  EXPECT_EQ(answered_by("env", {environment.pods[1].ipv6, tcp_target}, Transport::tcp, 1).size(),
            1U);
  for (const auto* place : {"client-0", "web-0", "node1", "node2", "router", "external"}) {
    const auto neighbours = must(base::parse_json(in_node("env", place, {"ip", "-j", "neigh"})));
    EXPECT_FALSE(neighbours.empty()) << place;
    for (const auto& neighbour : neighbours) {
      EXPECT_THAT(neighbour["state"].dump(), HasSubstr("PERMANENT"))
          << place << ": " << neighbour.dump();
    }
  }
}

TEST_F(Lab, ProvisioningAgainReturnsTheSameHandle) {
  const auto first = must(lab.provision(plan_of(DatapathKind::nftables)));
  const auto again = must(lab.provision(plan_of(DatapathKind::nftables)));
  EXPECT_EQ(again.services.at("web").ipv4, first.services.at("web").ipv4);
  EXPECT_EQ(again.pods.size(), first.pods.size());
  auto other = plan_of(DatapathKind::nftables);
  other.topology.pods["web"].replicas = 1;
  const auto refused = lab.provision(other);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::input);
  EXPECT_TRUE(lab.teardown());
  EXPECT_TRUE(lab.teardown());
  // And up again after teardown, with the other plan.
  EXPECT_EQ(must(lab.provision(other)).pods.size(), 3U);
}

TEST_F(Lab, APlanThatFailsLeavesRoomForAGoodOne) {
  auto bad = plan_of(DatapathKind::direct);
  bad.faults = {FaultKind::hook_left_out};
  EXPECT_FALSE(lab.provision(bad));
  // One namespace of the plan exists already: the middle of the set-up fails.
  must(lab.provision(plan_of(DatapathKind::direct, "other")));
  must(lab.sandbox()->run({}, {"ip", "netns", "add", "env.node2"}));
  EXPECT_FALSE(lab.provision(plan_of(DatapathKind::direct)));
  EXPECT_THAT(must(lab.sandbox()->run({}, {"ip", "netns"})), Not(HasSubstr("env.")));
  EXPECT_TRUE(lab.provision(plan_of(DatapathKind::direct)));
}

TEST_F(Lab, ErrorsSayWhatIsWrong) {
  const auto environment = must(lab.provision(plan_of(DatapathKind::direct)));
  const auto kind = [](const auto& result) {
    return result ? ErrorKind::usage : result.error().kind;
  };
  const auto ready = slice(environment, AddressFamily::ipv4, {});
  EXPECT_EQ(kind(lab.apply("nowhere", ready)), ErrorKind::input);
  EXPECT_EQ(kind(lab.apply("env", Json{{"apiVersion", "v1"}, {"kind", "Pod"}})),
            ErrorKind::missing);
  EXPECT_EQ(kind(lab.apply("env", Json{{"kind", "Service"}})), ErrorKind::input);
  EXPECT_EQ(kind(lab.agent("env", "web-7")), ErrorKind::input);
  EXPECT_EQ(kind(lab.agent("nowhere", "web-0")), ErrorKind::input);
  LabTarget without_agent({.agent = "/nonexistent/agent"});
  must(without_agent.provision(plan_of(DatapathKind::direct)));
  EXPECT_EQ(kind(without_agent.agent("env", "web-0")), ErrorKind::missing);
}

TEST_F(Lab, WritesAreStampedAndNumbered) {
  const auto environment = must(lab.provision(plan_of(DatapathKind::direct)));
  const auto before = base::monotonic_now().ns;
  const auto first = must(lab.apply("env", slice(environment, AddressFamily::ipv4, {"web-0"})));
  const auto second = must(lab.apply("env", slice(environment, AddressFamily::ipv4, {})));
  EXPECT_GE(first.sent_ns, before);
  EXPECT_GE(first.acked_ns, first.sent_ns);
  EXPECT_GT(second.sent_ns, first.acked_ns);
  EXPECT_GT(second.resource_version, first.resource_version);
}

// A stand-in for the agent: says where it runs, echoes, and complains on stderr.
class LabAgent : public Lab {
 protected:
  void SetUp() override {
    Lab::SetUp();
    char name[] = "/tmp/stackbench-agent-XXXXXX";
    const UniqueFd file(::mkstemp(name));
    path = name;
    const std::string script =
        "#!/bin/sh\n"
        "echo \"$(cat /proc/self/cgroup | grep '^0::') $(ls /sys/class/net | tr '\\n' ' ')"
        "$(ip -o -4 addr show | tr '\\n' ' ')\"\n"
        "echo complaint >&2\n"
        "exec cat\n";
    ASSERT_EQ(::write(file.get(), script.data(), script.size()),
              static_cast<ssize_t>(script.size()));
    ASSERT_EQ(::fchmod(file.get(), 0755), 0);
  }
  void TearDown() override { ::unlink(path.c_str()); }

  static std::string read_line(int fd) {
    std::string line;
    pollfd watched{.fd = fd, .events = POLLIN, .revents = 0};
    char letter = 0;
    while (::poll(&watched, 1, 5000) > 0 && ::read(fd, &letter, 1) == 1 && letter != '\n') {
      line += letter;
    }
    return line;
  }

  std::string path;
};

TEST_F(LabAgent, RunsInItsPodAndSpeaksOverPipes) {
  LabTarget with_agent({.agent = path});
  const auto environment = must(with_agent.provision(plan_of(DatapathKind::direct)));
  auto streams = must(with_agent.agent("env", "web-1"));
  const std::string greeting = read_line(streams.from_agent.get());
  EXPECT_THAT(greeting, HasSubstr("/env/node2/web-1"));
  EXPECT_THAT(greeting, HasSubstr(environment.pods[2].ipv4.to_string() + "/32"));
  ASSERT_EQ(::write(streams.to_agent.get(), "{}\n", 3), 3);
  EXPECT_EQ(read_line(streams.from_agent.get()), "{}");
  char complaint[32] = {};
  EXPECT_GT(::pread(streams.errors.get(), complaint, sizeof(complaint) - 1, 0), 0);
  EXPECT_STREQ(complaint, "complaint\n");
  // Its end of file is its end.
  streams.to_agent.reset();
  char rest = 0;
  EXPECT_EQ(::read(streams.from_agent.get(), &rest, 1), 0);
  EXPECT_EQ(streams.how_it_ended(), "exit code 0");
  EXPECT_TRUE(with_agent.teardown());
}

TEST_F(LabAgent, ObservesAPodFromItsNode) {
  LabTarget with_agent({.agent = path});
  must(with_agent.provision(plan_of(DatapathKind::direct)));
  auto observer = must(with_agent.observe("env", "web-1"));
  const std::string greeting = read_line(observer.streams.from_agent.get());
  EXPECT_THAT(greeting, HasSubstr(addresses::node_ipv4(2).to_string() + "/32"));
  // Outside the nodes' cgroups, so that no hook of theirs sees its sockets.
  EXPECT_THAT(greeting, HasSubstr("/env/observers"));
  const auto links = must(with_agent.sandbox()->run(
      {.netns = with_agent.environment("env")->netns("node2")}, {"ip", "-o", "link"}));
  EXPECT_THAT(links, HasSubstr(observer.interface + "@"));
  // Ended while the agent still runs: teardown must not wait for it.
  EXPECT_TRUE(with_agent.teardown());
}

TEST_F(LabAgent, ThatComplainsWithoutEndIsBounded) {
  {
    const UniqueFd file(::open(path.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
    const std::string_view script = "#!/bin/sh\nyes >&2\necho done\nexec cat\n";
    ASSERT_GT(::write(file.get(), script.data(), script.size()), 0);
  }
  LabTarget with_agent({.agent = path});
  must(with_agent.provision(plan_of(DatapathKind::direct)));
  auto streams = must(with_agent.agent("env", "web-0"));
  EXPECT_EQ(read_line(streams.from_agent.get()), "done");
  EXPECT_EQ(::lseek(streams.errors.get(), 0, SEEK_END), 64 << 10);
}

}  // namespace
}  // namespace cluster
