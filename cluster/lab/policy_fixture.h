// What the tests of policies in a lab share: an environment with pods of several labels and
// namespaces, and a probe that tells answered, denied (by our own verdict), refused and silent
// apart without waiting for a silence.
//
//   node 1: client-0 (app=client), near-0 (app=near), stranger-0 (app=client, namespace `other`)
//   node 2: web-0 (app=web)
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "cluster/lab/lab_fixture.h"

namespace cluster {

enum class Outcome { answered, denied, refused, silent };

inline void PrintTo(Outcome outcome, std::ostream* out) {
  static constexpr std::array names{"answered", "denied", "refused", "silent"};
  *out << names.at(static_cast<std::size_t>(outcome));
}

inline constexpr std::uint16_t other_target = 7002;   // TCP, and no Service's
inline constexpr std::uint16_t ranged_target = 7011;  // UDP

inline EnvironmentPlan policy_plan(DatapathKind datapath, std::string name = "env") {
  EnvironmentPlan plan;
  plan.name = std::move(name);
  plan.datapath = datapath;
  auto& pods = plan.topology.pods;
  pods["client"] = {.node = 1, .labels = {{"app", "client"}}};
  pods["near"] = {.node = 1, .labels = {{"app", "near"}}};
  pods["stranger"] = {.node = 1, .in_namespace = "other", .labels = {{"app", "client"}}};
  pods["web"] = {.node = 2, .labels = {{"app", "web"}}};
  plan.topology.namespaces["other"] = {.labels = {{"team", "red"}}};
  plan.topology.services["web"] = {.target = "web"};
  plan.topology.services["near"] = {.target = "near", .type = ServiceType::NodePort};
  plan.ports = {{"tcp-rr", Protocol::TCP, 8001, tcp_target},
                {"udp-rr", Protocol::UDP, 8003, udp_target}};
  plan.has_policies = true;
  return plan;
}

// A lab with one such environment and servers in all of its pods and outside. A fixture as an
// object (so the empty TestBody), because several tests share one.
class PolicyLab : public LabFixture {
 public:
  using Transport = base::testing::Transport;
  void TestBody() override {}

  explicit PolicyLab(const EnvironmentPlan& plan) : environment_(plan.name) {
    must(lab.provision(plan));
    for (const auto& pod : handle().pods) serve_at(pod);
  }

  LabTarget& target() { return lab; }
  // As provision() tells it now.
  EnvironmentHandle handle() { return must(lab.provision(lab.environment(environment_)->plan())); }
  PodHandle pod(const std::string& name) {
    for (const auto& found : handle().pods) {
      if (found.name == name) return found;
    }
    throw std::runtime_error("there is no pod " + name);
  }
  base::Endpoint at(const std::string& name, std::uint16_t port,
                    base::AddressFamily family = base::AddressFamily::ipv4) {
    return {pod(name).address(family), port};
  }

  void serve_at(const PodHandle& pod) {
    in_pod(environment_, pod.name, [&] {
      for (const auto& address : {pod.ipv4, pod.ipv6}) {
        for (const auto port : {tcp_target, other_target}) {
          servers.push_back(must(
              base::testing::EchoServer::start({{{address, port}, pod.name}}, Transport::tcp)));
        }
        for (const auto port : {udp_target, ranged_target}) {
          servers.push_back(must(
              base::testing::EchoServer::start({{{address, port}, pod.name}}, Transport::udp)));
        }
      }
    });
  }

  // A policy of this name and spec.
  static base::Json policy(const std::string& name, std::string_view spec,
                           const std::string& in_namespace = "default") {
    return {{"apiVersion", "networking.k8s.io/v1"},
            {"kind", "NetworkPolicy"},
            {"metadata", {{"name", name}, {"namespace", in_namespace}}},
            {"spec", must(base::parse_json(spec))}};
  }
  WriteStamps apply(const std::string& name, std::string_view spec,
                    const std::string& in_namespace = "default") {
    applied_.insert(in_namespace + "/" + name);
    return must(lab.apply(environment_, policy(name, spec, in_namespace)));
  }
  WriteStamps remove(const std::string& name) {
    applied_.erase("default/" + name);
    return must(lab.remove(environment_, "NetworkPolicy", name));
  }
  // As at first.
  void clear() {
    for (const auto& name : applied_) must(lab.remove(environment_, "NetworkPolicy", name));
    applied_.clear();
  }

  // A socket of a pod, which is dialling.
  base::UniqueFd begin(const std::string& from, const base::Endpoint& peer, Transport transport) {
    base::UniqueFd fd;
    in_pod(environment_, from, [&] {
      fd = must(base::testing::open_socket(peer, transport));
      const int flags = ::fcntl(fd.get(), F_GETFL);
      ASSERT_EQ(::fcntl(fd.get(), F_SETFL, flags | O_NONBLOCK), 0);
      const base::SocketAddress address(peer);
      if (::connect(fd.get(), address.get(), address.size()) != 0) {
        ASSERT_EQ(errno, EINPROGRESS) << peer.to_string();
      }
    });
    return fd;
  }

  // What becomes of one question over this socket: over TCP once it is connected. Denials count
  // from `since` on.
  Outcome ask(const base::UniqueFd& fd, const std::string& question = "?",
              std::string* who = nullptr, std::int64_t since = base::monotonic_now().ns) {
    const auto local = must(base::testing::local_of(fd.get()));
    bool asked = ::send(fd.get(), question.data(), question.size(), MSG_NOSIGNAL) >= 0;
    // Said once: a refusal that is quicker than this call is not there to be asked for later.
    if (!asked && errno == ECONNREFUSED) return Outcome::refused;
    Outcome outcome = Outcome::silent;
    std::ignore = base::testing::eventually(
        [&] {
          pollfd ready{.fd = fd.get(), .events = POLLIN, .revents = 0};
          if (!asked) ready.events = POLLOUT;
          if (::poll(&ready, 1, 0) > 0) {
            int error = 0;
            socklen_t size = sizeof(error);
            ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
            if (error == ECONNREFUSED) {
              outcome = Outcome::refused;
              return true;
            }
            if (!asked) {
              asked = ::send(fd.get(), question.data(), question.size(), MSG_NOSIGNAL) >= 0;
              return false;
            }
            std::array<char, 64> answer{};
            const auto got = ::recv(fd.get(), answer.data(), answer.size(), 0);
            if (got > 0) {
              outcome = Outcome::answered;
              if (who != nullptr) who->assign(answer.data(), static_cast<std::size_t>(got));
            } else if (got < 0 && errno == ECONNREFUSED) {
              outcome = Outcome::refused;
            }
            return outcome != Outcome::silent;
          }
          for (const auto& denial : must(lab.recent_denials(environment_)).denials) {
            if (denial.at_ns < since) continue;
            if (denial.from.port == local.port || denial.to.port == local.port ||
                is_hidden(denial)) {
              last_denial = denial;
              outcome = Outcome::denied;
              return true;
            }
          }
          return false;
        },
        std::chrono::seconds(2));
    return outcome;
  }
  Outcome probe(const std::string& from, const base::Endpoint& peer,
                Transport transport = Transport::tcp, const std::string& question = "?") {
    // A SYN may be denied before the socket is looked at.
    const auto since = base::monotonic_now().ns;
    return ask(begin(from, peer, transport), question, nullptr, since);
  }

  // What a program of the node itself meets.
  base::Result<std::string> ask_from_node(const std::string& node, const base::Endpoint& peer) {
    std::string answer;
    RETURN_IF_ERROR(
        lab.sandbox()->inside(lab.environment(environment_)->netns(node), [&]() -> base::Result<> {
          ASSIGN_OR_RETURN(answer, ask_once(peer, Transport::tcp));
          return {};
        }));
    return answer;
  }

  template <typename Work>
  void inside(const std::string& pod, Work work) {
    in_pod(environment_, pod, work);
  }

  std::optional<Denial> last_denial;

 private:
  // A node's address and a port of its own are in place of the client's.
  bool is_hidden(const Denial& denial) {
    const auto& nodes = lab.environment(environment_)->handle().nodes;
    return std::ranges::any_of(nodes, [&](const NodeHandle& node) {
      return node.address(denial.from.address.family) == denial.from.address;
    });
  }

  std::string environment_;
  std::set<std::string> applied_;
};

// A test in one environment that all tests of its kind share; each begins without policies.
class SharedPolicyLab : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (base::testing::no_lab_here()) return;
    shared = std::make_unique<PolicyLab>(policy_plan(DatapathKind::nftables));
  }
  static void TearDownTestSuite() { shared.reset(); }
  void SetUp() override {
    if (const auto why = base::testing::no_lab_here()) GTEST_SKIP() << *why;
    shared->clear();
  }

  static inline std::unique_ptr<PolicyLab> shared;
};

inline constexpr std::string_view deny_all_ingress =
    R"({"podSelector": {}, "policyTypes": ["Ingress"]})";

}  // namespace cluster
