// `stackbench verify default-deny` on a real Kubernetes in which nobody enforces policies: what
// they say is whole, and packets tell that it is only said. The cluster is the one that $KUBECONFIG
// names.
#include <csignal>

#include "tests/verify_on_cluster.h"

namespace tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(VerifyOnACluster, FindsThatNobodyEnforcesWhatPoliciesSay) {
  const Shop shop;
  const Folder folder;
  const auto saved = folder.file("coverage.json");

  const auto said = verify_shop({"--no-probes", "--save", saved});
  EXPECT_EQ(said.code, 0) << said.err << said.out;
  EXPECT_THAT(said.out, AllOf(HasSubstr("shop/Deployment web"), HasSubstr("denied by default"),
                              HasSubstr("web ingress from anybody, TCP http  (shop/web, rule 1)"),
                              HasSubstr("Policy engine: none (network plugin bridge")));

  // Nobody is there to agree.
  const auto unasked = verify_shop({});
  EXPECT_EQ(unasked.code, 2);
  EXPECT_THAT(unasked.err, HasSubstr("--yes"));
  const auto plan = verify_shop({"--plan"});
  EXPECT_EQ(plan.code, 0) << plan.err;
  EXPECT_THAT(plan.out,
              AllOf(HasSubstr("with the labels of shop/Deployment web"),
                    HasSubstr("in a namespace of its own"),
                    HasSubstr("None for shop/StatefulSet db: StatefulSet db selects it and would "
                              "take it for one of its own")));
  EXPECT_THAT(left_behind(), IsEmpty());

  const auto probed = verify_shop({"--yes", "--ephemeral", "--json"});
  EXPECT_EQ(probed.code, 1) << probed.err << probed.out;
  const auto cells = cell_verdicts(probed.report);
  for (const auto* closed : {"shop/StatefulSet db to shop/Deployment web 47808 TCP",
                             "shop/Deployment web to shop/StatefulSet db 47808 UDP"}) {
    EXPECT_EQ(cells.at(closed), "open_though_denied") << closed;
  }
  for (const auto& [cell, verdict] : cells) {
    EXPECT_TRUE(verdict == "as_policies_say" || verdict == "open_though_denied")
        << cell << " is " << verdict;
  }
  EXPECT_THAT(probed.report["unprobed"], IsEmpty());
  EXPECT_THAT(left_behind(), IsEmpty());

  // A pod that no policy selects is other than it was, and a fail by itself.
  shop.does({"delete", "networkpolicy", "deny-all", "db", "--namespace=shop"});
  const auto later = verify_shop({"--no-probes", "--against", saved});
  EXPECT_EQ(later.code, 1) << later.err << later.out;
  EXPECT_THAT(later.out,
              AllOf(HasSubstr("! ingress: db-0: no NetworkPolicy selects it for ingress"),
                    HasSubstr("shop/StatefulSet db ingress: was denied_by_default, is uncovered")));

  // What a killed one left is found by its labels.
  auto process =
      base::Process::spawn({.argv = {command, "verify", "default-deny", "-n", "shop", "--yes"},
                            .out = base::Stdio::null(),
                            .err = base::Stdio::null()});
  ASSERT_TRUE(process) << base::describe_error(process.error());
  ASSERT_TRUE(comes_true([] { return left_behind().find("probe-1") != std::string::npos; }))
      << "no probe pod was ever made";
  ASSERT_TRUE(process->signal(SIGKILL));
  ASSERT_TRUE(process->wait(patience));
  const auto cleaned =
      base::run({command, "clean", "--target", "kubernetes"}, {.timeout = patience});
  ASSERT_TRUE(cleaned) << base::describe_error(cleaned.error());
  EXPECT_EQ(cleaned->status.code, 0) << cleaned->err;
  EXPECT_THAT(left_behind(), IsEmpty());
}

TEST(VerifyOnACluster, ANamespaceThatIsNotThereIsOneClearError) {
  std::vector<std::string> argv{command, "verify", "default-deny", "-n", "nowhere", "--no-probes"};
  const auto result = base::run(argv, {.timeout = patience});
  ASSERT_TRUE(result) << base::describe_error(result.error());
  EXPECT_EQ(result->status.code, 2);
  EXPECT_THAT(result->err, HasSubstr("there is no namespace nowhere"));
}

}  // namespace
}  // namespace tests
