// The real Istio on a Kubernetes of this machine's own: what `stackbench up --mesh istio` brings
// up, the shipped gate asked of it, and a port left out of STRICT, which the gate must find, asked
// with the rights that the chart grants. Needs root and what `./bootstrap test stack` gets; every
// wait is for a condition, bounded.
#include <map>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "tests/own_cluster.h"

namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;
using tests::tools;

class MeshStack : public tests::OwnCluster {
 protected:
  void SetUp() override {
    OwnCluster::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    for (const auto* file :
         {"go/istio/istioctl", "go/istio/images/proxyv2.tar", "go/coredns", "go/helm"}) {
      ASSERT_TRUE(fs::exists(tools / file)) << "run ./bootstrap test stack";
    }
  }

  tests::RanCommand gate(const std::vector<std::string>& values, const std::string& as = {}) const {
    std::vector<std::string> words{
        "run",      std::string(STACKBENCH_SOURCE_DIR) + "/scenarios/mtls-strict.yaml",
        "--target", "kubernetes",
        "--out",    report_path()};
    for (const auto& value : values) words.insert(words.end(), {"--set", value});
    if (!as.empty()) words.insert(words.end(), {"--kubeconfig", as});
    return stackbench(words);
  }
  // Installs the chart, or gives it other values; nothing asks by itself.
  void install_chart(const std::string& values) const {
    const auto chart = std::string(STACKBENCH_SOURCE_DIR) + "/charts/stackbench";
    const auto done = run({(tools / "go/helm").string(), "upgrade", "--install", "stackbench",
                           chart, "--namespace", "bench", "--create-namespace", "--set",
                           "nightly.enabled=false," + values});
    ASSERT_EQ(done.code, 0) << done.err;
  }
  // The administrator's kubeconfig, with the token of the chart's account for a user.
  std::string kubeconfig_of_the_chart() const {
    const auto shown =
        kubectl({"config", "view", "--raw", "--minify", "--flatten", "--output", "json"});
    auto config = base::parse_json(shown.out).value_or(base::Json::object());
    auto token = kubectl({"create", "token", "stackbench", "--namespace", "bench"}).out;
    while (token.ends_with('\n')) token.pop_back();
    config["users"][0]["user"] = {{"token", token}};
    const auto file = (home_ / "account.json").string();
    EXPECT_TRUE(base::write_file(file, base::dump_json(config)));
    return file;
  }
  [[nodiscard]] std::string report_path() const { return (home_ / "report.json").string(); }
  [[nodiscard]] base::Json report() const {
    const auto text = base::read_file(report_path());
    return text ? base::parse_json(*text).value_or(base::Json()) : base::Json();
  }
  // "plaintext_refused (http)" -> its sentence, of those that have not this verdict.
  static std::map<std::string, std::string> checks_but(std::string_view verdict,
                                                       const base::Json& report) {
    std::map<std::string, std::string> all;
    for (const auto& check : report.value("checks", base::Json::array())) {
      if (check["verdict"] == verdict) continue;
      all[fmt::format("{} ({})", check["name"].get<std::string>(), check.value("workload", ""))] =
          check["verdict"].get<std::string>() + ": " + check.value("sentence", "");
    }
    return all;
  }
};

TEST_F(MeshStack, IstioHoldsItsDoorsShutAndAPortLeftOpenIsFound) {
  const auto up = stackbench(
      {"up", "--name", "test", "--nodes", "2", "--proxy", "nftables", "--mesh", "istio"});
  ASSERT_EQ(up.code, 0) << up.err;
  std::printf("%s", up.out.c_str());
  EXPECT_THAT(stackbench({"status", "--name", "test"}).out,
              AllOf(HasSubstr("mesh istio"), HasSubstr("coredns")));
  const auto gateway =
      kubectl({"-n", "istio-system", "get", "deployments", "-o",
               "jsonpath={range .items[*]}{.metadata.name}={.status.readyReplicas} "
               "{end}"});
  EXPECT_EQ(gateway.out, "istio-ingressgateway=1 istiod=1 ");

  const auto clean = gate({});
  std::printf("%s", clean.out.c_str());
  EXPECT_EQ(clean.code, 0) << clean.err << clean.out;
  const auto seen = report();
  EXPECT_FALSE(seen.value("checks", base::Json::array()).empty());
  EXPECT_THAT(checks_but("pass", seen), IsEmpty());
  const auto mesh =
      seen.value("target_facts", base::Json::object()).value("mesh", base::Json::object());
  EXPECT_THAT(mesh.value("version", ""), AllOf(StartsWith("1.31.0-dev."), Not(HasSubstr("1.28"))));
  EXPECT_THAT(mesh.value("stock_envoy_lacks", std::vector<std::string>()),
              ElementsAre("metadata exchange", "ALPN override",
                          "Istio's statistics (istio_requests_total)"));

  // As whoever may do what the chart grants to those who have a mesh, and no more.
  install_chart("rbac.mesh=true");
  const auto account = kubeconfig_of_the_chart();
  const auto left_out = gate({"faults=[{kind: port_left_out_of_strict, environment: strict}]",
                              "checks=[plaintext_refused]"},
                             account);
  EXPECT_EQ(left_out.code, 1) << left_out.err << left_out.out;
  const auto found = checks_but("pass", report());
  ASSERT_THAT(found, ElementsAre(testing::Pair("plaintext_refused (tcp_crr)",
                                               StartsWith("fail: plaintext was taken"))));

  install_chart("rbac.mesh=false");
  const auto refused = gate({}, account);
  EXPECT_EQ(refused.code, 3) << "who may not see Istio has not asked it";
  EXPECT_THAT(base::dump_json(report()), HasSubstr("cannot list resource"));

  const auto namespaces = kubectl({"get", "namespaces", "-o", "name"}).out;
  EXPECT_THAT(namespaces, Not(HasSubstr("stackbench-"))) << "runs take away what is theirs";
  const auto down = stackbench({"down", "--name", "test"});
  EXPECT_EQ(down.code, 0) << down.err;
  EXPECT_FALSE(fs::exists(directory()));
  EXPECT_EQ(difference(), "");
}

}  // namespace
