// The check on real traffic: a pod, its node, and every way a Service address can be translated
// between them, honest or not.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <net/if.h>

#include "base/testing/lab.h"
#include "checks/tcx_rewrite.skel.h"
#include "checks/translated_at.h"
#include "cluster/lab/datapath/ebpf_socket.h"

namespace checks {
namespace {

using base::Verdict;
using base::testing::Transport;
using ::testing::HasSubstr;

base::Endpoint at(std::string_view text) { return base::Endpoint::parse(text).value(); }

const auto service4 = at("10.96.0.10:8001");
const auto service6 = at("[fd00:96::10]:8001");
const auto backend4 = at("10.244.9.1:7001");
const auto backend6 = at("[fd00:244:9::1]:7001");

enum class Use { connected, unconnected };

// A way to use a Service.
struct Traffic {
  std::string name;
  base::Endpoint service;
  base::Endpoint backend;
  Transport transport = Transport::tcp;
  Use use = Use::connected;

  friend void PrintTo(const Traffic& traffic, std::ostream* out) { *out << traffic.name; }
};

// What three sockets of the client went through.
struct Exchange {
  bench::ClientResult client;
  std::vector<base::Endpoint> shown;  // getpeername, or the source of the reply
};

base::Result<Exchange> exchange(const Traffic& traffic, const base::Endpoint& peer) {
  Exchange result;
  for (int i = 0; i < 3; ++i) {
    base::UniqueFd socket;
    if (traffic.use == Use::connected) {
      ASSIGN_OR_RETURN(socket, base::testing::dial(peer, traffic.transport));
      ASSIGN_OR_RETURN(const auto shown, base::testing::peer_of(socket.get()));
      result.shown.push_back(shown);
      RETURN_IF_ERROR(base::testing::ask(socket.get()));
    } else {
      ASSIGN_OR_RETURN(socket, base::testing::open_socket(peer, traffic.transport));
      ASSIGN_OR_RETURN(const auto reply, base::testing::ask_at(socket.get(), peer));
      result.shown.push_back(reply.from);
    }
    ASSIGN_OR_RETURN(const auto local, base::testing::local_of(socket.get()));
    result.client.local_ports.push_back(local.port);
    ++result.client.requests;
  }
  return result;
}

class TranslatedAtLab : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = base::testing::no_lab_here()) GTEST_SKIP() << *reason;
    auto pair = base::testing::TestPair::make();
    ASSERT_TRUE(pair) << base::describe_error(pair.error());
    pair_.emplace(std::move(*pair));
    for (const auto& backend : {backend4, backend6}) {
      must(pair_->host.run(fmt::format("ip address add {}/{} dev lo nodad", backend.address,
                                       backend.address.host_prefix())));
    }
    for (const auto transport : {Transport::tcp, Transport::udp}) {
      auto server = pair_->host.inside([&] {
        return base::testing::EchoServer::start({{backend4, "web-0"}, {backend6, "web-0"}},
                                                transport);
      });
      ASSERT_TRUE(server) << base::describe_error(server.error());
      servers_.push_back(std::move(*server));
    }
  }

  template <typename T>
  static void must(const base::Result<T>& result) {
    ASSERT_TRUE(result) << base::describe_error(result.error());
  }

  // kube-proxy's effect in the node: packets are rewritten after they left the pod.
  void load_packet_rules() const {
    must(pair_->host.run("nft -f -", R"(
table inet services {
  chain prerouting {
    type nat hook prerouting priority dstnat;
    ip daddr 10.96.0.10 meta l4proto { tcp, udp } th dport 8001 dnat ip to 10.244.9.1:7001
    ip6 daddr fd00:96::10 meta l4proto { tcp, udp } th dport 8001 dnat ip6 to [fd00:244:9::1]:7001
  }
})"));
  }

  void hook_sockets() {
    auto cgroup = base::testing::TestCgroup::make();
    ASSERT_TRUE(cgroup) << base::describe_error(cgroup.error());
    cgroup_.emplace(std::move(*cgroup));
    must(cgroup_->enter());
    cluster::DatapathNode node;
    node.name = "node1";
    node.cgroup = cgroup_->path();
    std::vector<cluster::DatapathNode> nodes;
    nodes.push_back(std::move(node));
    auto datapath = cluster::make_ebpf_socket_datapath(nodes);
    ASSERT_TRUE(datapath) << base::describe_error(datapath.error());
    datapath_ = std::move(*datapath);
    cluster::ServiceTable table;
    for (const auto& [service, backend] : {std::pair(service4, backend4), {service6, backend6}}) {
      for (const auto protocol : {cluster::Protocol::TCP, cluster::Protocol::UDP}) {
        table.entries.push_back({.service = "web",
                                 .port_name = "",
                                 .protocol = protocol,
                                 .cluster = service,
                                 .backends = {{.endpoint = backend, .pod = "web-0"}}});
      }
    }
    must(datapath_->sync(table));
  }

  base::Result<probes::TranslationProbe> attach(const Traffic& traffic) const {
    return pair_->host.inside([&] {
      return probes::TranslationProbe::attach({.interface = "host0",
                                               .service = {traffic.service},
                                               .backends = {traffic.backend},
                                               .protocol = traffic.transport == Transport::tcp
                                                               ? base::Protocol::TCP
                                                               : base::Protocol::UDP});
    });
  }

  // Dials `peer` from the pod under the probe and judges what was seen.
  Finding check(const Traffic& traffic, const base::Endpoint& peer, TranslatedAt expected) {
    auto probe = attach(traffic);
    EXPECT_TRUE(probe) << base::describe_error(probe.error());
    const auto exchanged = pair_->pod.inside([&] { return exchange(traffic, peer); });
    EXPECT_TRUE(exchanged) << base::describe_error(exchanged.error());
    if (!probe || !exchanged) return {};
    shown_ = exchanged->shown;
    const auto counts = pair_->host.inside([&] { return probe->read(); });
    EXPECT_TRUE(counts) << base::describe_error(counts.error());
    return translated_at(expected, counts.value(), exchanged->client);
  }

  std::optional<base::testing::TestPair> pair_;
  std::vector<base::testing::EchoServer> servers_;
  std::optional<base::testing::TestCgroup> cgroup_;
  std::unique_ptr<cluster::Datapath> datapath_;
  std::vector<base::Endpoint> shown_;
};

class TranslatedAtEach : public TranslatedAtLab, public ::testing::WithParamInterface<Traffic> {};

TEST_P(TranslatedAtEach, PacketRulesPassAsPacketAndAPodDialAsNone) {
  const auto& traffic = GetParam();
  load_packet_rules();
  const auto by_service = check(traffic, traffic.service, TranslatedAt::packet);
  EXPECT_EQ(by_service.verdict, Verdict::pass) << by_service.sentence;
  EXPECT_EQ(shown_, std::vector(3, traffic.service));
  const auto by_pod = check(traffic, traffic.backend, TranslatedAt::none);
  EXPECT_EQ(by_pod.verdict, Verdict::pass) << by_pod.sentence;
}

TEST_P(TranslatedAtEach, HooksPassAsSocketAndTheApplicationSeesTheService) {
  const auto& traffic = GetParam();
  hook_sockets();
  const auto by_service = check(traffic, traffic.service, TranslatedAt::socket);
  EXPECT_EQ(by_service.verdict, Verdict::pass) << by_service.sentence;
  EXPECT_EQ(by_service.evidence.at("counts").at("to_service"), 0);
  EXPECT_EQ(by_service.evidence.at("counts").at("connection_tracking_entries"), 0);
  EXPECT_EQ(shown_, std::vector(3, traffic.service));
  const auto by_pod = check(traffic, traffic.backend, TranslatedAt::none);
  EXPECT_EQ(by_pod.verdict, Verdict::pass) << by_pod.sentence;
  EXPECT_EQ(shown_, std::vector(3, traffic.backend));
}

// The planted fault: no hooks, packet rules underneath, and every request is answered.
TEST_P(TranslatedAtEach, HooksLeftOutAreCaughtThoughAllTrafficWorks) {
  const auto& traffic = GetParam();
  load_packet_rules();
  const auto found = check(traffic, traffic.service, TranslatedAt::socket);
  EXPECT_EQ(found.verdict, Verdict::fail) << found.sentence;
  EXPECT_EQ(found.evidence.at("observed"), "packet");
  EXPECT_EQ(found.evidence.at("requests"), 3);
}

// Hooks that work, over rules that are still there: nothing needs them, but they track connections.
TEST_P(TranslatedAtEach, RulesLeftUnderTheHooksAreCaughtByTheirTracking) {
  const auto& traffic = GetParam();
  load_packet_rules();
  hook_sockets();
  const auto found = check(traffic, traffic.service, TranslatedAt::socket);
  EXPECT_EQ(found.verdict, Verdict::fail) << found.sentence;
  EXPECT_EQ(found.evidence.at("observed"), "socket");
  EXPECT_THAT(found.sentence, HasSubstr("the node tracks"));
}

INSTANTIATE_TEST_SUITE_P(
    Traffic, TranslatedAtEach,
    ::testing::Values(
        Traffic{"tcp_ipv4", service4, backend4}, Traffic{"tcp_ipv6", service6, backend6},
        Traffic{"udp_connected_ipv4", service4, backend4, Transport::udp},
        Traffic{"udp_connected_ipv6", service6, backend6, Transport::udp},
        Traffic{"udp_unconnected_ipv4", service4, backend4, Transport::udp, Use::unconnected},
        Traffic{"udp_unconnected_ipv6", service6, backend6, Transport::udp, Use::unconnected}),
    [](const auto& parameter) { return parameter.param.name; });

const Traffic tcp4{"tcp_ipv4", service4, backend4};

// A sidecar: the pod's own rules send the Service's connections to a program in the pod, which
// dials a backend itself. The packets that leave look just as those of a hooked socket, but for a
// port.
TEST_F(TranslatedAtLab, AProxyInThePodIsNotTakenForTheSocket) {
  must(pair_->pod.run("nft -f -", R"(
table ip sidecar {
  chain output {
    type nat hook output priority -100;
    ip daddr 10.96.0.10 tcp dport 8001 redirect to :15001
  }
})"));
  const auto sidecar = pair_->pod.inside([&] {
    return base::testing::EchoServer::relay(at("127.0.0.1:15001"), Transport::tcp, [] {
      const auto upstream = base::testing::dial(backend4, Transport::tcp);
      if (!upstream) return std::string("no upstream");
      return base::testing::ask(upstream->get()).value_or("no answer");
    });
  });
  ASSERT_TRUE(sidecar) << base::describe_error(sidecar.error());
  const auto found = check(tcp4, service4, TranslatedAt::socket);
  EXPECT_EQ(found.verdict, Verdict::fail) << found.sentence;
  EXPECT_EQ(found.evidence.at("observed"), "proxy");
  EXPECT_EQ(found.evidence.at("counts").at("to_service"), 0);
  const auto promised = check(tcp4, service4, TranslatedAt::proxy);
  EXPECT_EQ(promised.verdict, Verdict::pass) << promised.sentence;
}

// A hook on part of the traffic: one cgroup has it, the other does not, and the rules catch the
// rest.
TEST_F(TranslatedAtLab, TrafficTranslatedInTwoPlacesIsCaught) {
  load_packet_rules();
  hook_sockets();
  auto probe = attach(tcp4);
  must(probe);
  const auto hooked = pair_->pod.inside([&] { return exchange(tcp4, service4); });
  must(hooked);
  must(cgroup_->leave());
  auto unhooked = pair_->pod.inside([&] { return exchange(tcp4, service4); });
  must(unhooked);
  auto client = hooked->client;
  client.requests += unhooked->client.requests;
  std::ranges::copy(unhooked->client.local_ports, std::back_inserter(client.local_ports));
  const auto counts = pair_->host.inside([&] { return probe->read(); });
  must(counts);
  const auto found = translated_at(TranslatedAt::socket, *counts, client);
  EXPECT_EQ(found.verdict, Verdict::fail);
  EXPECT_THAT(found.sentence, HasSubstr("part of the traffic"));
}

TEST_F(TranslatedAtLab, SilenceIsInconclusive) {
  auto probe = attach(tcp4);
  must(probe);
  const auto counts = pair_->host.inside([&] { return probe->read(); });
  must(counts);
  EXPECT_EQ(translated_at(TranslatedAt::socket, *counts, {}).verdict, Verdict::inconclusive);
}

// A program at the same interface rewrites the packets as soon as they are in; what the pod sent is
// counted all the same, whichever of the two came first.
TEST_F(TranslatedAtLab, ARewritingProgramAtTheSameInterfaceDoesNotFoolTheProbe) {
  constexpr auto tcx_ingress = static_cast<bpf_attach_type>(46);  // BPF_TCX_INGRESS, Linux 6.6
  const Traffic datagrams{"udp", service4, backend4, Transport::udp, Use::unconnected};
  auto opened = base::open_skeleton<tcx_rewrite_bpf>("tcx_rewrite");
  must(opened);
  auto& rival = **opened;
  std::memcpy(&rival.rodata->from_address, service4.address.bytes.data(), 4);
  std::memcpy(&rival.rodata->to_address, backend4.address.bytes.data(), 4);
  rival.rodata->from_port = htons(service4.port);
  rival.rodata->to_port = htons(backend4.port);
  must(base::load_skeleton(rival, "tcx_rewrite"));

  auto probe_before = attach(datagrams);
  must(probe_before);
  const auto link = pair_->host.inside([&] {
    return base::UniqueFd(::bpf_link_create(::bpf_program__fd(rival.progs.rewrite),
                                            static_cast<int>(::if_nametoindex("host0")),
                                            tcx_ingress, nullptr));
  });
  ASSERT_TRUE(link) << errno;
  auto probe_after = attach(datagrams);
  must(probe_after);

  const auto socket =
      pair_->pod.inside([&] { return base::testing::open_socket(service4, Transport::udp); });
  must(socket);
  for (int i = 0; i < 5; ++i) {
    // The reply comes from the backend, under its own address: proof that the rival did its work.
    const auto reply = base::testing::ask_at(socket->get(), service4);
    must(reply);
    EXPECT_EQ(reply->from, backend4);
  }
  EXPECT_EQ(rival.bss->rewritten, 5U);
  for (const auto* probe : {&*probe_before, &*probe_after}) {
    const auto counts = pair_->host.inside([&] { return probe->read(); });
    must(counts);
    EXPECT_EQ(counts->to_service, 5U);
    EXPECT_EQ(counts->to_backend, 0U);
  }
}

}  // namespace
}  // namespace checks
