#include "stackbench/verify/probe_cells.h"

#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stackbench/verify/testing.h"

namespace stackbench {
namespace {

using bench::ReachOutcome;
using checks::Allowance;
using ::testing::HasSubstr;

base::IpAddress address(int number) {
  return *base::IpAddress::parse(fmt::format("10.1.0.{}", number));
}

// shop, with a probe pod of web on n1 and of db on n2, and one of elsewhere on each node. Each
// listens at TCP 8080.
class ProbeCells : public ::testing::Test {
 protected:
  ProbeCells() : world_(testing::world_of(testing::shop()).world) {
    world_.namespaces["ours"] = {};
    add("web", "shop", {{"app", "web"}}, "n1");
    add("db", "shop", {{"app", "db"}}, "n2");
    add("elsewhere on n1", "ours", {}, "n1");
    add("elsewhere on n2", "ours", {}, "n2");
  }

  void add(const std::string& name, const std::string& in_namespace, const checks::Labels& labels,
           const std::string& node) {
    const int number = 100 + static_cast<int>(ends_.size());
    const checks::NamedPort port{
        .name = "http", .protocol = base::kube::Protocol::TCP, .port = 8080};
    ends_.push_back({.name = name,
                     .pod = world_.pods.size(),
                     .role = in_namespace == "ours" ? ProbeRole::elsewhere : ProbeRole::workload,
                     .server_id = static_cast<std::uint32_t>(ends_.size() + 1),
                     .ports = {port}});
    world_.pods.push_back({.name = fmt::format("probe-{}", number),
                           .in_namespace = in_namespace,
                           .labels = labels,
                           .addresses = {address(number)},
                           .node = node,
                           .named_ports = {port}});
  }

  // All cells, seen as somebody who enforces every policy would have it, but for one.
  std::vector<JudgedCell> judged(const std::map<std::string, ReachOutcome>& others = {}) {
    const auto cells = probe_cells(world_, ends_, outside_);
    std::vector<ReachOutcome> seen;
    for (const auto& cell : cells) {
      const auto other = others.find(fmt::format("{} to {}", cell.source_name, cell.destination));
      const bool outside = !cell.to.has_value();
      seen.push_back(other != others.end()                ? other->second
                     : cell.expected == Allowance::denied ? ReachOutcome::timed_out
                     : outside                            ? ReachOutcome::answered_by_other
                                                          : ReachOutcome::answered);
    }
    return judge(world_, ends_, cells, seen);
  }
  static const JudgedCell& cell(const std::vector<JudgedCell>& all, std::string_view source,
                                std::string_view destination) {
    const auto found = std::ranges::find_if(all, [&](const JudgedCell& one) {
      return one.cell.source_name == source && one.cell.destination == destination;
    });
    EXPECT_NE(found, all.end()) << source << " to " << destination;
    return *found;
  }

  checks::PolicyWorld world_;
  std::vector<ProbeEnd> ends_;
  std::vector<ProbeOutside> outside_ = {
      {.name = "external", .endpoint = {*base::IpAddress::parse("192.0.2.7"), 443}}};
};

TEST_F(ProbeCells, WhatIsEnforcedIsAsPoliciesSay) {
  const auto all = judged();
  for (const auto& one : all) {
    EXPECT_EQ(one.verdict, CellVerdict::as_policies_say)
        << one.cell.source_name << " to " << one.cell.destination;
  }
  // web and db each: each other, elsewhere and back, outside.
  EXPECT_EQ(all.size(), 8U);
  EXPECT_EQ(cell(all, "web", "db").cell.expected, Allowance::denied);  // db lets nobody in
  EXPECT_EQ(cell(all, "web", "external").cell.expected, Allowance::denied);
  // From another node: its own may be exempt.
  const auto& in = cell(all, "elsewhere on n2", "web");
  EXPECT_EQ(in.cell.expected, Allowance::allowed);
  EXPECT_EQ(cell(all, "elsewhere on n1", "db").cell.expected, Allowance::denied);
}

TEST_F(ProbeCells, WhatIsOpenThoughDeniedIsALeakWithItsReason) {
  for (const auto outcome : {ReachOutcome::answered, ReachOutcome::answered_by_other,
                             ReachOutcome::silent, ReachOutcome::cut}) {
    const auto all = judged({{"web to db", outcome}});
    const auto& leak = cell(all, "web", "db");
    EXPECT_EQ(leak.verdict, CellVerdict::open_though_denied) << base::enum_name(outcome);
    EXPECT_THAT(leak.cell.why, HasSubstr("shop/deny-all"));
  }
  for (const auto outcome : {ReachOutcome::refused, ReachOutcome::unreachable}) {
    EXPECT_EQ(cell(judged({{"web to db", outcome}}), "web", "db").verdict,
              CellVerdict::as_policies_say);
  }
}

TEST_F(ProbeCells, AServerThatIsDownDoesNotReadAsDenied) {
  const auto all = judged({{"db to db", ReachOutcome::refused}});
  const auto& silent = cell(all, "web", "db");
  EXPECT_EQ(silent.verdict, CellVerdict::not_judged);
  EXPECT_EQ(silent.note, "its server does not even answer itself");
}

TEST_F(ProbeCells, APodThatNothingGetsToDoesNotReadAsDenied) {
  ends_[1].has_network = false;  // db, which lets nobody in and goes nowhere
  const auto all = judged();
  for (const auto& one : all) {
    const bool of_db = one.cell.source == 1 || one.cell.to == std::size_t{1};
    EXPECT_EQ(one.verdict, of_db ? CellVerdict::not_judged : CellVerdict::as_policies_say)
        << one.cell.source_name << " to " << one.cell.destination;
  }
  EXPECT_EQ(cell(all, "web", "db").note, "nothing gets to db, not even from its own node");
  // Whoever is let in all the same shows it.
  const auto open = judged({{"elsewhere on n1 to db", ReachOutcome::answered}});
  EXPECT_EQ(cell(open, "elsewhere on n1", "db").verdict, CellVerdict::open_though_denied);
  EXPECT_EQ(cell(open, "web", "db").verdict, CellVerdict::as_policies_say);
}

TEST_F(ProbeCells, AWayThatIsCutDoesNotReadAsDenied) {
  const auto all = judged({{"elsewhere on n1 to elsewhere on n2", ReachOutcome::timed_out}});
  EXPECT_EQ(cell(all, "web", "db").verdict, CellVerdict::not_judged);
  EXPECT_THAT(cell(all, "web", "db").note, HasSubstr("from node n1 to node n2"));
  EXPECT_EQ(cell(all, "db", "web").verdict, CellVerdict::as_policies_say);
}

TEST_F(ProbeCells, AnAddressWhereNobodyAnswersTellsNothing) {
  const auto all = judged({{"elsewhere on n1 to external", ReachOutcome::timed_out},
                           {"elsewhere on n2 to external", ReachOutcome::timed_out}});
  EXPECT_EQ(cell(all, "web", "external").verdict, CellVerdict::not_judged);
}

TEST_F(ProbeCells, WhatIsClosedThoughAllowedIsNoLeak) {
  const auto all = judged({{"elsewhere on n2 to web", ReachOutcome::timed_out}});
  EXPECT_EQ(cell(all, "elsewhere on n2", "web").verdict, CellVerdict::closed_though_allowed);
}

TEST_F(ProbeCells, WhereOtherKindsOfPolicyDecideNothingIsJudged) {
  world_.unmodelled.push_back(
      {.kind = "CiliumNetworkPolicy", .name = "l7", .in_namespace = "shop"});
  for (const auto& one : judged({{"elsewhere on n1 to db", ReachOutcome::answered}})) {
    if (one.cell.source_name != "elsewhere on n1") continue;
    EXPECT_EQ(one.verdict, CellVerdict::unknown);
  }
}

TEST_F(ProbeCells, WhatCouldNotBeKnockedAtIsNotJudged) {
  const auto all = judged({{"web to db", ReachOutcome::failed}});
  EXPECT_EQ(cell(all, "web", "db").verdict, CellVerdict::not_judged);
}

TEST_F(ProbeCells, EachFamilyAndPortIsKnockedAt) {
  world_.pods[ends_[1].pod].addresses.push_back(*base::IpAddress::parse("fd00::2"));
  ends_[1].ports.push_back({.name = {}, .protocol = base::kube::Protocol::UDP, .port = 53});
  const auto count = [&] {
    return std::ranges::count_if(probe_cells(world_, ends_, {}), [](const ProbeCell& one) {
      return one.source_name == "web" && one.destination == "db";
    });
  };
  EXPECT_EQ(count(), 2);  // web has no IPv6
  world_.pods[ends_[0].pod].addresses.push_back(*base::IpAddress::parse("fd00::1"));
  EXPECT_EQ(count(), 4);
}

TEST_F(ProbeCells, TheOutsideIsAnEndOfItsOwn) {
  ends_.push_back({.name = "the outside",
                   .role = ProbeRole::outside,
                   .addresses = {*base::IpAddress::parse("203.0.113.7")},
                   .server_id = 9,
                   .ports = {{.name = {}, .protocol = base::kube::Protocol::TCP, .port = 443}}});
  world_.policies.push_back(*base::kube::read_network_policy(
      testing::policy("db-web", R"({"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [
        {"from": [{"ipBlock": {"cidr": "203.0.113.0/24"}}]}]})")));
  const auto all = judged();
  EXPECT_EQ(cell(all, "the outside", "db").cell.expected, Allowance::allowed);
  EXPECT_EQ(cell(all, "web", "the outside").cell.expected, Allowance::denied);
  EXPECT_EQ(cell(all, "web", "the outside").verdict, CellVerdict::as_policies_say);
  // Where nobody at all reaches it, silence means nothing.
  const auto cut = judged({{"elsewhere on n1 to the outside", ReachOutcome::timed_out}});
  EXPECT_EQ(cell(cut, "web", "the outside").verdict, CellVerdict::not_judged);
  EXPECT_EQ(cell(cut, "the outside", "web").verdict, CellVerdict::as_policies_say);
}

TEST_F(ProbeCells, DnsIsOnlyKnockedAt) {
  world_.pods.push_back(
      {.name = "dns", .in_namespace = "kube-system", .addresses = {address(200)}, .node = "n1"});
  ends_.push_back({.name = "DNS",
                   .pod = world_.pods.size() - 1,
                   .role = ProbeRole::dns,
                   .server_id = 9,
                   .ports = {{.name = {}, .protocol = base::kube::Protocol::UDP, .port = 53}}});
  world_.policies.push_back(*base::kube::read_network_policy(testing::policy(
      "dns", R"({"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Egress"], "egress":
        [{"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name":
          "kube-system"}}}], "ports": [{"port": 53, "protocol": "UDP"}]}]})")));
  const auto cells = probe_cells(world_, ends_, {});
  for (const auto& one : cells) {
    if (one.source_name == "DNS") EXPECT_EQ(one.kind, CellKind::own_server);
    if (one.kind != CellKind::to_dns) continue;
    EXPECT_EQ(one.expected, one.source_name == "db" ? Allowance::allowed : Allowance::denied);
  }
}

}  // namespace
}  // namespace stackbench
