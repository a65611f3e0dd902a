// The command as a user meets it, without root and without traffic: whole messages and exit codes.
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/process.h"

namespace {

constexpr uid_t nobody = 65534;

struct Outcome {
  int code = -1;
  std::string out;
  std::string err;
};

// A tree below /root cannot be searched by others, so who is not root runs a copy, which goes with
// the tests.
class CopyForOthers {
 public:
  CopyForOthers() { std::filesystem::copy_file(STACKBENCH_BINARY_DIR "/stackbench", path_); }
  CopyForOthers(const CopyForOthers&) = delete;
  CopyForOthers& operator=(const CopyForOthers&) = delete;
  ~CopyForOthers() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_ = fmt::format("{}/stackbench-{}", ::testing::TempDir(), ::getpid());
};

Outcome stackbench(std::vector<std::string> words, bool as_nobody = false) {
  static const CopyForOthers copy;
  words.insert(words.begin(),
               as_nobody ? copy.path() : std::string(STACKBENCH_BINARY_DIR "/stackbench"));
  base::RunOptions options{.directory = STACKBENCH_SOURCE_DIR};
  if (as_nobody && ::geteuid() == 0) {
    options.before_exec = []() -> base::Result<> {
      if (::setresuid(nobody, nobody, nobody) < 0) return base::system_error(errno, "setresuid");
      return {};
    };
  }
  const auto result = base::run(words, options);
  if (!result) {
    ADD_FAILURE() << base::describe_error(result.error());
    return {};
  }
  return {result->status.code, result->out, result->err};
}

std::string scratch_file(std::string_view name, std::string_view content) {
  const auto path = std::filesystem::path(::testing::TempDir()) / name;
  std::ofstream(path) << content;
  return path.string();
}

TEST(Command, AnUnknownCommandIsNamedWithTheNearestOne) {
  const auto outcome = stackbench({"rnu", "x.yaml"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(
      outcome.err,
      "stackbench: unknown command \"rnu\", did you mean run?\n"
      "  The commands are: run, plan, list, validate, schema, report, verify, up, down, status, "
      "bgp, doctor, "
      "clean, completion\n");
  EXPECT_EQ(outcome.out, "");
}

TEST(Command, AnUnknownOptionIsNamedWithTheNearestOne) {
  const auto outcome = stackbench({"plan", "scenarios/kpr.yaml", "--sett", "blocks=20"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(outcome.err,
            "stackbench: unknown option \"--sett\", did you mean --set?\n"
            "  See stackbench plan --help\n");
}

TEST(Command, AnUnknownCommandBelowAnotherIsNamedWithTheNearestOne) {
  const auto outcome = stackbench({"bgp", "wach", "10.0.0.1"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(outcome.err,
            "stackbench: unknown command \"bgp wach\", did you mean watch?\n"
            "  See stackbench bgp --help\n");
  const auto none = stackbench({"bgp"});
  EXPECT_EQ(none.code, 2);
  EXPECT_EQ(none.err, "stackbench: A subcommand is required\n  See stackbench bgp --help\n");
  const auto option = stackbench({"bgp", "watch", "10.0.0.1", "--jsn"});
  EXPECT_EQ(option.code, 2);
  EXPECT_EQ(option.err,
            "stackbench: unknown option \"--jsn\", did you mean --json?\n"
            "  See stackbench bgp watch --help\n");
}

TEST(Command, AnArgumentTooManyIsNamed) {
  const auto outcome = stackbench({"bgp", "watch", "10.0.0.1", "10.0.0.2"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(outcome.err,
            "stackbench: unexpected argument \"10.0.0.2\"\n"
            "  See stackbench bgp watch --help\n");
}

TEST(Command, ABgpPeerThatIsNotThereIsOneClearError) {
  const auto outcome = stackbench({"bgp", "watch", "unix:/nowhere/gobgpd.sock"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_NE(outcome.err.find("unix:/nowhere/gobgpd.sock: no gobgpd answers"), std::string::npos)
      << outcome.err;
  EXPECT_NE(outcome.err.find("--api-hosts"), std::string::npos) << outcome.err;
}

TEST(Command, ABgpPeersConfigurationIsGobgpds) {
  const auto outcome =
      stackbench({"bgp", "config", "--asn", "64513", "--router-id", "172.18.0.100", "--from",
                  "172.18.0.0/16", "--node-asn", "64512", "--restart-time", "5"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto config = base::parse_json(outcome.out);
  ASSERT_TRUE(config);
  EXPECT_EQ((*config)["global"]["config"]["as"], 64513);
  EXPECT_EQ((*config)["dynamic-neighbors"][0]["config"]["prefix"], "172.18.0.0/16");
  EXPECT_EQ((*config)["peer-groups"][0]["config"]["peer-as"], 64512);
  EXPECT_EQ((*config)["peer-groups"][0]["graceful-restart"]["config"]["restart-time"], 5);
  const auto wrong =
      stackbench({"bgp", "config", "--asn", "64513", "--router-id", "172.18.0.100", "--from",
                  "172.18.0.0/16", "--node-asn", "64512", "--hold-time", "2"});
  EXPECT_EQ(wrong.code, 2);
  EXPECT_NE(wrong.err.find("hold_time_s: expected 0, or 3 to 65535, got 2"), std::string::npos)
      << wrong.err;
}

TEST(Command, AMissingArgumentIsNamed) {
  const auto outcome = stackbench({"run"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(outcome.err,
            "stackbench: file is required\n"
            "  See stackbench run --help\n");
}

TEST(Command, NoCommandAtAllShowsWhereHelpIs) {
  const auto outcome = stackbench({});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(outcome.err,
            "stackbench: A subcommand is required\n"
            "  See stackbench --help\n");
}

TEST(Command, AFileThatIsNotThereIsOneClearError) {
  for (const std::string command : {"run", "plan", "validate"}) {
    const auto outcome = stackbench({command, "scenarios/kqr.yaml"});
    EXPECT_EQ(outcome.code, 2) << command;
    EXPECT_NE(outcome.err.find("scenarios/kqr.yaml"), std::string::npos) << outcome.err;
    EXPECT_NE(outcome.err.find("No such file or directory"), std::string::npos) << outcome.err;
  }
}

TEST(Command, ARunWithoutRootSaysSoBeforeAnythingElse) {
  const auto outcome = stackbench({"run", "scenarios/smoke.yaml"}, true);
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(
      outcome.err,
      "stackbench: the lab needs root: it makes network namespaces, cgroups and eBPF programs\n"
      "  Run the same command as root, for example with sudo.\n");
}

TEST(Command, AClusterAskedForWronglyIsRefusedBeforeAnythingElse) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> wrong{
      {{"up", "--nodes", "0"}, "--nodes: expected 1 to 16, got 0"},
      {{"up", "--proxy", "ipvs"}, "--proxy: expected one of iptables, nftables, got \"ipvs\""},
      {{"up", "--cni", "cilium"}, "--cni: expected one of bridge, calico, got \"cilium\""},
      {{"up", "--bgp", "bird"}, "--bgp: expected one of none, metallb, got \"bird\""},
      {{"up", "--mesh", "linkerd"}, "--mesh: expected one of none, istio, got \"linkerd\""},
      {{"up", "--name", "a/b"},
       "--name: expected up to 40 small letters, digits and inner dashes, got \"a/b\""},
      {{"down", "--name", ".."},
       "--name: expected up to 40 small letters, digits and inner dashes, got \"..\""}};
  for (const auto& [words, message] : wrong) {
    const auto outcome = stackbench(words);
    EXPECT_EQ(outcome.code, 2);
    EXPECT_EQ(outcome.err, "stackbench: " + message + "\n");
  }
  const auto outcome = stackbench({"up"}, true);
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(outcome.err,
            "stackbench: a cluster of processes needs root: it makes namespaces and cgroups\n"
            "  Run the same command as root, for example with sudo.\n");
}

TEST(Command, WhatNeedsNoRootWorksWithoutIt) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"plan", "scenarios/kpr.yaml"},
        {"list"},
        {"schema", "scenario"},
        {"schema", "report"},
        {"validate", "scenarios/kpr.yaml", "scenarios/smoke.yaml"},
        {"--help"},
        {"run", "--help"},
        {"--version"}}) {
    const auto outcome = stackbench(words, true);
    EXPECT_EQ(outcome.code, 0) << words[0] << ": " << outcome.err;
    EXPECT_NE(outcome.out, "") << words[0];
    EXPECT_EQ(outcome.err, "") << words[0];
  }
}

TEST(Command, PlanNamesEveryArmAndHowLongItTakes) {
  const auto outcome = stackbench({"plan", "scenarios/kpr.yaml", "--set", "blocks=20"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  for (const std::string word : {"direct", "iptables_cluster_ip", "nftables_cluster_ip",
                                 "ebpf_cluster_ip", "20 blocks", "about "}) {
    EXPECT_NE(outcome.out.find(word), std::string::npos) << word << " in\n" << outcome.out;
  }
}

TEST(Command, SchemasAreJson) {
  for (const std::string which : {"scenario", "report"}) {
    const auto outcome = stackbench({"schema", which});
    const auto json = base::parse_json(outcome.out);
    ASSERT_TRUE(json) << json.error().message;
    EXPECT_EQ((*json)["$schema"], "http://json-schema.org/draft-07/schema#");
  }
}

TEST(Command, EveryFaultOfAFileComesAtOnce) {
  const auto path = scratch_file("faulty.yaml",
                                 "question: two faults\n"
                                 "topology: {pods: {client: {node: 1}, web: {node: 2}}}\n"
                                 "arms:\n"
                                 "  - {name: direct, dial: pod/web}\n"
                                 "workloads:\n"
                                 "  - {kind: tcp_rr, duration: 30}\n"
                                 "blocks: 0\n");
  const auto outcome = stackbench({"validate", path});
  std::filesystem::remove(path);
  EXPECT_EQ(outcome.code, 2);
  EXPECT_NE(outcome.err.find(path + ":6:30: workloads[0].duration: expected a duration such as 30s "
                                    "or 250ms, got \"30\"\n"),
            std::string::npos)
      << outcome.err;
  EXPECT_NE(outcome.err.find(path + ":7:9: blocks: "), std::string::npos) << outcome.err;
}

TEST(Command, OutputThatCannotBeWrittenIsAnError) {
  const auto outcome =
      base::run({"/bin/sh", "-c", STACKBENCH_BINARY_DIR "/stackbench list >/dev/full"},
                {.directory = STACKBENCH_SOURCE_DIR});
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->status.code, 2);
  EXPECT_EQ(outcome->err, "stackbench: write to standard output: No space left on device\n");
}

TEST(Command, TheReadmeShowsTheUsageTextAsItIs) {
  const auto readme = base::read_file(STACKBENCH_SOURCE_DIR "/README.md");
  ASSERT_TRUE(readme);
  const auto help = stackbench({"--help"});
  const std::string expected = "<!-- usage:begin (kept equal to --help by a test) -->\n```\n" +
                               help.out + "```\n<!-- usage:end -->";
  EXPECT_NE(readme->find(expected), std::string::npos)
      << "put the output of `stackbench --help` between the usage marks of README.md:\n"
      << help.out;
}

TEST(Completion, TheBashScriptCompletesCommandsAndOptions) {
  const auto script = stackbench({"completion", "bash"});
  ASSERT_EQ(script.code, 0) << script.err;
  const auto path = scratch_file("completion.bash", script.out);
  const auto complete = [&](std::string_view words, int at) {
    const auto result = base::run({"bash", "-c",
                                   fmt::format("source {}; COMP_WORDS=({}); COMP_CWORD={}; "
                                               "_stackbench; echo \"${{COMPREPLY[*]}}\"",
                                               path, words, at)},
                                  {.directory = STACKBENCH_SOURCE_DIR});
    return result ? result->out : base::describe_error(result.error());
  };
  EXPECT_EQ(complete("stackbench va", 1), "validate\n");
  EXPECT_EQ(complete("stackbench plan --s", 2), "--set\n");
  EXPECT_EQ(complete("stackbench bgp w", 2), "watch\n");
  EXPECT_EQ(complete("stackbench bgp watch --j", 3), "--json\n");
  EXPECT_EQ(complete("stackbench plan scenarios/smoke.yaml --s", 3), "--set\n");
  EXPECT_EQ(complete("stackbench run scenarios/sm", 2), "scenarios/smoke.yaml\n");
  std::filesystem::remove(path);
}

constexpr std::string_view closed_shop = R"(apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: it, ports: [{containerPort: 8080}]}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
)";

Outcome verify_manifests(const std::vector<std::string>& words) {
  std::vector<std::string> all{"verify", "default-deny", "--target", "lab", "-n", "shop"};
  all.insert(all.end(), words.begin(), words.end());
  return stackbench(all, true);
}

// What policies say of manifests needs no cluster, no lab and no rights.
TEST(VerifyManifests, ReadsThemAndComparesThemWithAnotherDay) {
  const auto file = scratch_file("closed_shop.yaml", closed_shop);
  const auto opened = scratch_file(
      "opened_shop.yaml",
      std::string(closed_shop) +
          "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: more}\n"
          "spec: {podSelector: {}, ingress: [{ports: [{port: 8080}]}]}\n");
  const auto folder = std::filesystem::path(::testing::TempDir()) / "verify_manifests";
  std::filesystem::create_directories(folder);
  std::filesystem::permissions(folder, std::filesystem::perms::all);
  const auto saved = (folder / "shop.json").string();
  const auto first = verify_manifests({"-f", file, "--no-probes", "--save", saved});
  EXPECT_EQ(first.code, 0) << first.err << first.out;
  EXPECT_NE(first.out.find("Default-deny in shop, as manifests would make it, by what policies "
                           "say: pass"),
            std::string::npos)
      << first.out;
  const auto again = verify_manifests({"-f", file, "--no-probes", "--against", saved});
  EXPECT_EQ(again.code, 0) << again.err << again.out;
  // What differs is not forgotten by being saved over what it differs from.
  for (int i = 0; i < 2; ++i) {
    const auto drifted = verify_manifests(
        {"-f", opened, "--no-probes", "--against", saved, "--save", saved, "--json"});
    EXPECT_EQ(drifted.code, 1) << drifted.err << drifted.out;
    EXPECT_NE(drifted.err.find("would be forgotten"), std::string::npos) << drifted.err;
    const auto report = base::parse_json(drifted.out);
    ASSERT_TRUE(report);
    EXPECT_EQ(report->at("target"), "lab");
    EXPECT_EQ(report->at("drift"),
              base::Json::array({"shop/Deployment web ingress: now allowed: anybody, TCP 8080"}));
  }
  std::filesystem::remove_all(folder);
}

TEST(VerifyManifests, SaysWhatItIsGivenWrongly) {
  const auto file = scratch_file("closed_shop.yaml", closed_shop);
  const auto wrong = scratch_file("wrong.yaml", "apiVersion: v1\nkind: Pod\nspec: {}\n");
  EXPECT_NE(verify_manifests({"-f", wrong, "--no-probes"})
                .err.find("wrong.yaml:1:1: metadata.name: missing: the name of this Pod"),
            std::string::npos);
  EXPECT_NE(verify_manifests({}).err.find("-f names manifests"), std::string::npos);
  EXPECT_NE(verify_manifests({"-f", file, "--context", "it"})
                .err.find("--context is about a "
                          "cluster"),
            std::string::npos);
  const auto rootless = verify_manifests({"-f", file});
  EXPECT_EQ(rootless.code, 2);
  EXPECT_NE(rootless.err.find("the lab needs root"), std::string::npos) << rootless.err;
  const auto plan = verify_manifests({"-f", file, "--plan"});
  EXPECT_EQ(plan.code, 0) << plan.err;
  EXPECT_NE(plan.out.find("shop/web-1 on node1, for shop/Deployment web"), std::string::npos)
      << plan.out;
  EXPECT_EQ(stackbench({"verify", "default-deny", "-n", "shop", "-f", file}).code, 2);
}

}  // namespace
