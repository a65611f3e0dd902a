// The pure parts of the provider that are no configuration files.
#include <algorithm>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "cluster/processes/component_set.h"
#include "cluster/processes/doctor.h"
#include "cluster/processes/images.h"
#include "cluster/processes/provider.h"
#include "cluster/processes/readiness.h"
#include "cluster/processes/starting.h"

namespace cluster::processes {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// A folder that goes with the test.
class Folder {
 public:
  Folder() {
    std::string name = (fs::path(::testing::TempDir()) / "stackbench-processes-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  [[nodiscard]] std::string operator/(std::string_view name) const {
    return (path_ / name).string();
  }
  [[nodiscard]] std::string path() const { return path_.string(); }

 private:
  fs::path path_;
};

TEST(ShapeName, IsSmallLettersDigitsAndInnerDashes) {
  for (const auto* name : {"default", "a", "ci-42", "0"}) EXPECT_TRUE(check_name(name)) << name;
  for (const auto* name : {"", "-a", "a-", "A", "a/b", "..", "a.b", "a b",
                           "a123456789012345678901234567890123456789x"}) {
    const auto outcome = check_name(name);
    ASSERT_FALSE(outcome) << name;
    EXPECT_EQ(outcome.error().kind, base::ErrorKind::usage);
  }
}

TEST(State, ReadsBackWhatItWrites) {
  const Folder folder;
  const Directory directory(folder.path());
  ClusterState state{.shape = {.name = "x",
                               .nodes = 2,
                               .proxy = ProxyMode::nftables,
                               .cni = Cni::calico,
                               .bgp = Bgp::metallb,
                               .mesh = Mesh::istio},
                     .phase = Phase::degraded,
                     .supervisor = 4711,
                     .start_ticks = 18446744073709551615U,
                     .port = 40001,
                     .cgroup = "stackbench-1-2-0",
                     .timings = {.control_plane_ns = 3'300'000'000, .nodes_ns = 1, .total_ns = 2},
                     .nodes = {{.name = "node1", .address = "172.18.0.2", .init = 12}},
                     .components = {{.name = "etcd", .pid = 13},
                                    {.name = "node1-kubelet",
                                     .node = 1,
                                     .pid = 14,
                                     .ended = "exit code 1",
                                     .last_words = "a \"word\"\nmore"}}};
  ASSERT_TRUE(write_state(directory, state));
  const auto read = read_state(directory);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(base::to_json(*read), base::to_json(state));
  EXPECT_EQ(read->shape, state.shape);
  EXPECT_EQ(read->start_ticks, state.start_ticks);
}

TEST(State, ThatIsNoneNamesTheFileAndThePlace) {
  const Folder folder;
  const Directory directory(folder.path());
  std::ofstream(directory.state()) << R"({"shape": {"name": "x", "nodes": 99}})";
  const auto read = read_state(directory);
  ASSERT_FALSE(read);
  EXPECT_THAT(read.error().message, HasSubstr(directory.state()));
  EXPECT_THAT(read.error().message, HasSubstr("shape.nodes"));
}

TEST(State, OfAProcessThatIsGoneDoesNotLive) {
  EXPECT_FALSE(supervisor_lives({.supervisor = 0x3fffffff, .start_ticks = 1}));
  // Another process may have our pid by now, started at another time.
  EXPECT_FALSE(supervisor_lives({.supervisor = ::getpid(), .start_ticks = 1}));
}

TEST(Provider, KnowsTheClustersThatHaveADirectory) {
  const Folder folder;
  const Provider provider(folder / "clusters");
  EXPECT_THAT(provider.names().value(), IsEmpty());
  fs::create_directories(folder / "clusters/b");
  fs::create_directories(folder / "clusters/a");
  fs::create_directories(folder / "clusters/.no-name");
  EXPECT_THAT(provider.names().value(), ElementsAre("a", "b"));
  EXPECT_FALSE(provider.find("a").value());
}

TEST(State, OfAClusterThatSaysNothingOfBgpAndOfAMeshHasNone) {
  const Folder folder;
  const Directory directory(folder.path());
  std::ofstream(directory.state()) << R"({"shape": {"name": "x", "nodes": 2, "proxy": "iptables",
    "cni": "bridge"}, "phase": "ready", "supervisor": 1, "start_ticks": 1})";
  const auto read = read_state(directory);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->shape.bgp, Bgp::none);
  EXPECT_EQ(read->shape.mesh, Mesh::none);
}

TEST(ShapeText, NamesAnAnnouncerWhereThereIsOne) {
  EXPECT_EQ(to_string(Shape{}), "3 nodes, kube-proxy iptables, CNI bridge");
  EXPECT_EQ(to_string(Shape{.nodes = 1, .cni = Cni::calico, .bgp = Bgp::metallb}),
            "1 node, kube-proxy iptables, CNI calico, BGP metallb");
  EXPECT_EQ(to_string(Shape{.nodes = 2, .mesh = Mesh::istio}),
            "2 nodes, kube-proxy iptables, CNI bridge, mesh istio");
}

TEST(Tools, ThatAreMissingAreAllNamedWithTheMend) {
  const Folder folder;
  const auto found = find_tools(folder / "build", {});
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().kind, base::ErrorKind::missing);
  for (const auto* name :
       {"go/hyperkube", "containerd", "runc", "cni/bridge", "images/pause.tar"}) {
    EXPECT_THAT(found.error().message, HasSubstr(name));
  }
  EXPECT_THAT(found.error().mend, HasSubstr("./bootstrap up builds"));
  EXPECT_THAT(found.error().message, Not(HasSubstr("calico")));
  EXPECT_THAT(found.error().message, Not(HasSubstr("metallb")));
}

TEST(Tools, OfAddonsAreMissedByThoseWhoAskForThem) {
  const Folder folder;
  const auto calico = find_tools(folder / "build", {.cni = Cni::calico});
  ASSERT_FALSE(calico);
  for (const auto* name : {"go/calico/calico", "go/calico/calico-felix", "go/calico/crds"}) {
    EXPECT_THAT(calico.error().message, HasSubstr(name));
  }
  EXPECT_THAT(calico.error().mend, HasSubstr("./bootstrap up --cni calico builds"));
  const auto both = find_tools(folder / "build", {.cni = Cni::calico, .bgp = Bgp::metallb});
  ASSERT_FALSE(both);
  for (const auto* name : {"go/metallb/controller", "go/metallb/speaker", "go/metallb/crds"}) {
    EXPECT_THAT(both.error().message, HasSubstr(name));
  }
  EXPECT_THAT(both.error().mend, HasSubstr("./bootstrap up --cni calico --bgp metallb builds"));
  const auto mesh = find_tools(folder / "build", {.mesh = Mesh::istio});
  ASSERT_FALSE(mesh);
  for (const auto* name : {"go/istio/istioctl", "go/istio/crds", "go/istio/version", "go/coredns",
                           "go/istio/images/pilot.tar", "go/istio/images/proxyv2.tar"}) {
    EXPECT_THAT(mesh.error().message, HasSubstr(name));
  }
  EXPECT_THAT(mesh.error().mend, HasSubstr("./bootstrap up --mesh istio builds"));
}

TEST(Tools, AreFoundWhereBootstrapLeavesThem) {
  const Folder folder;
  const auto root = fs::canonical(folder.path()).string();
  const auto wanted = tools_below(root);
  for (const auto& program :
       {wanted.hyperkube, wanted.kubectl, wanted.containerd, wanted.ctr, wanted.runc,
        wanted.cni_plugins + "/bridge", wanted.cni_plugins + "/portmap",
        wanted.images + "/pause.tar", wanted.images + "/agent.tar", wanted.images + "/x.txt"}) {
    fs::create_directories(fs::path(program).parent_path());
    std::ofstream(program) << "";
    fs::permissions(program, fs::perms::owner_all);
  }
  const auto found = find_tools(root, {});
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->hyperkube, root + "/go/hyperkube");
  EXPECT_THAT(image_archives(*found, {}).value(),
              ElementsAre(wanted.images + "/agent.tar", wanted.images + "/pause.tar"));
}

TEST(Images, AreTakenInOnceForEachStateOfTheirArchive) {
  const Folder folder;
  const Directory directory(folder.path());
  Tools tools;
  tools.ctr = "ctr";
  tools.images = folder / "images";
  fs::create_directories(tools.images);
  std::ofstream(tools.images + "/pause.tar") << "one";
  std::vector<std::string> ran;
  const auto run = [&](int node, const std::vector<std::string>& argv) -> base::Result<> {
    ran.push_back(fmt::format("node{} {}", node, fs::path(argv.back()).filename().string()));
    return {};
  };
  EXPECT_THAT(import_images(directory, tools, {.nodes = 2}, run).value(), ElementsAre("pause"));
  EXPECT_THAT(ran, ElementsAre("node1 pause.tar", "node2 pause.tar"));
  EXPECT_THAT(import_images(directory, tools, {.nodes = 2}, run).value(), IsEmpty());
  std::ofstream(tools.images + "/agent.tar") << "two";
  std::ofstream(tools.images + "/pause.tar") << "three";
  ran.clear();
  EXPECT_THAT(import_images(directory, tools, {.nodes = 1}, run).value(),
              ElementsAre("agent", "pause"));
  tools.istio = folder / "istio";
  fs::create_directories(tools.istio + "/images");
  std::ofstream(tools.istio + "/images/pilot.tar") << "five";
  EXPECT_THAT(import_images(directory, tools, {.nodes = 1, .mesh = Mesh::istio}, run).value(),
              ElementsAre("pilot"))
      << "those of a mesh are for clusters that have one";
  const auto fail = [](int, const std::vector<std::string>&) -> base::Result<> {
    return base::fail(base::ErrorKind::system, "ctr: no");
  };
  std::ofstream(tools.images + "/pause.tar") << "four!";
  EXPECT_EQ(import_images(directory, tools, {.nodes = 1}, fail).error().message,
            "image pause: ctr: no");
  EXPECT_THAT(import_images(directory, tools, {.nodes = 1}, run).value(), ElementsAre("pause"))
      << "one that failed is tried again";
}

TEST(Doctor, SaysWhatAClusterOfProcessesLacks) {
  const Folder folder;
  const base::Result<Tools> none = find_tools(folder / "build", {});
  const base::Result<Tools> all = tools_below("/tree/build");
  const std::string overlay = "nodev\tsysfs\n\toverlay\n";
  auto feature = processes_feature(none, overlay, true, {});
  EXPECT_EQ(feature.available, Available::no);
  EXPECT_FALSE(feature.required) << "a lab needs none of it";
  EXPECT_THAT(feature.detail, HasSubstr("hyperkube"));
  EXPECT_THAT(feature.mend, HasSubstr("./bootstrap up"));
  EXPECT_EQ(processes_feature(all, "nodev\tsysfs\n", true, {}).mend, "modprobe overlay");
  EXPECT_EQ(processes_feature(all, overlay, false, {}).mend, "modprobe br_netfilter");
  feature = processes_feature(all, overlay, true, {});
  EXPECT_EQ(feature.available, Available::yes);
  EXPECT_EQ(feature.mend, "");
  EXPECT_THAT(feature.detail, HasSubstr("/tree/build"));
  EXPECT_THAT(feature.detail, Not(HasSubstr("calico")));
  feature = processes_feature(all, overlay, true, {"--cni calico", "--bgp metallb"});
  EXPECT_THAT(feature.detail,
              HasSubstr("/tree/build, with what is needed for --cni calico and --bgp metallb"));
}

TEST(StartReport, ReadsBackWhatItWrites) {
  const auto progress = from_line(to_line({.text = "control plane ready\nafter 3 s"}));
  ASSERT_TRUE(progress);
  EXPECT_EQ(progress->kind, StartReport::Kind::progress);
  EXPECT_EQ(progress->text, "control plane ready\nafter 3 s");
  EXPECT_EQ(from_line(to_line({.kind = StartReport::Kind::ready}))->kind, StartReport::Kind::ready);
  const auto failed = from_line(
      to_line({.kind = StartReport::Kind::failed,
               .error = {.kind = base::ErrorKind::missing, .message = "m", .mend = "d"}}));
  ASSERT_TRUE(failed);
  EXPECT_EQ(failed->error.kind, base::ErrorKind::missing);
  EXPECT_EQ(failed->error.message, "m");
  EXPECT_EQ(failed->error.mend, "d");
  for (const auto* line : {"", "x", "{}", R"({"failed": {"kind": 99}})", "[1]"}) {
    EXPECT_FALSE(from_line(line)) << line;
  }
}

TEST(SuperviseWords, SayTheWholeShape) {
  const auto words = supervise_words({.name = "x", .nodes = 2, .proxy = ProxyMode::nftables},
                                     Directory("/state/x"), "/tree/build");
  EXPECT_THAT(words, ElementsAre("supervise", "--directory", "/state/x", "--tools", "/tree/build",
                                 "--name", "x", "--nodes", "2", "--proxy", "nftables", "--cni",
                                 "bridge", "--bgp", "none", "--mesh", "none"));
}

TEST(SuperviseWords, SayWhichClocksAreAhead) {
  Shape shape{.name = "x", .nodes = 3};
  ASSERT_TRUE(add_clock_ahead(shape, "node2=50ms"));
  ASSERT_TRUE(add_clock_ahead(shape, "node3=1500ms"));
  const auto words = supervise_words(shape, Directory("/state/x"), "/tree/build");
  EXPECT_THAT(std::vector(words.end() - 4, words.end()),
              ElementsAre("--clock-ahead", "node2=50ms", "--clock-ahead", "node3=1500ms"));
  EXPECT_EQ(to_string(shape),
            "3 nodes, kube-proxy iptables, CNI bridge, clock of node2 50ms ahead, clock of node3 "
            "1500ms ahead");
  for (const auto* word : {"node2=50ms", "node4=50ms", "node1", "node1=", "node1=0ms", "=5ms"}) {
    const auto refused = add_clock_ahead(shape, word);
    ASSERT_FALSE(refused) << word;
    EXPECT_EQ(refused.error().kind, base::ErrorKind::usage);
    EXPECT_THAT(refused.error().message, HasSubstr("node1=50ms"));
  }
}

base::Json node(const std::string& name, const std::string& ready, const std::string& taint = "") {
  base::Json json = {
      {"metadata", {{"name", name}}},
      {"status",
       {{"conditions",
         base::Json::array(
             {base::Json{{"type", "MemoryPressure"}, {"status", "False"}},
              base::Json{{"type", "Ready"}, {"status", ready}, {"message", "why"}}})}}}};
  if (!taint.empty()) json["spec"]["taints"] = base::Json::array({base::Json{{"key", taint}}});
  return json;
}

TEST(Readiness, OfNodesSaysWhatTheFirstOfThemLacks) {
  const auto list = [](const std::vector<base::Json>& nodes) {
    return base::Json{{"items", nodes}};
  };
  EXPECT_EQ(what_nodes_lack(list({node("node1", "True"), node("node2", "True", "my/taint")}), 2),
            "");
  EXPECT_EQ(what_nodes_lack(list({node("node1", "True")}), 2), "1 of 2 nodes are registered");
  EXPECT_EQ(what_nodes_lack(list({node("node1", "True"), node("node2", "False")}), 2),
            "node2: not Ready: why");
  EXPECT_EQ(what_nodes_lack(list({node("node1", "True", "node.kubernetes.io/not-ready")}), 1),
            "node1: tainted node.kubernetes.io/not-ready");
  EXPECT_EQ(what_nodes_lack(base::Json::object(), 1), "0 of 1 nodes are registered");
  EXPECT_EQ(what_nodes_lack(list({base::Json{{"metadata", {{"name", "node1"}}}}}), 1),
            "node1: not Ready");
}

TEST(Readiness, OfDefinitionsIsThatAllAreEstablished) {
  const auto definition = [](const std::string& status) {
    return base::Json{
        {"metadata", {{"name", "ippools.x"}}},
        {"status",
         {{"conditions",
           base::Json::array({base::Json{{"type", "NamesAccepted"}, {"status", "True"}},
                              base::Json{{"type", "Established"}, {"status", status}}})}}}};
  };
  const auto list = [](const std::vector<base::Json>& all) { return base::Json{{"items", all}}; };
  EXPECT_EQ(what_definitions_lack(list({definition("True"), definition("True")})), "");
  EXPECT_EQ(what_definitions_lack(list({definition("True"), definition("False")})),
            "ippools.x: not Established: ");
  EXPECT_EQ(what_definitions_lack(list({base::Json{{"metadata", {{"name", "new.x"}}}}})),
            "new.x: not Established");
}

TEST(Readiness, OfAProxyIsThatEveryFamilysRulesAreWritten) {
  const std::string name = "kubeproxy_sync_proxy_rules_last_timestamp_seconds";
  EXPECT_FALSE(proxy_has_synced(""));
  EXPECT_FALSE(proxy_has_synced("# HELP " + name + " x\n" + name + " 0\n"));
  EXPECT_TRUE(proxy_has_synced("# TYPE " + name + " gauge\n" + name + " 1.7e+09\nother 1"));
  EXPECT_TRUE(proxy_has_synced(name + "{ip_family=\"IPv4\"} 1.7e+09\n"));
  EXPECT_FALSE(proxy_has_synced(name + "{ip_family=\"IPv4\"} 1.7e+09\n" + name +
                                "{ip_family=\"IPv6\"} 0\n"));
}

TEST(LastLines, AreWholeAndFew) {
  const Folder folder;
  const auto path = folder / "log";
  EXPECT_EQ(last_lines(path), "");
  std::ofstream(path) << "first\nlast\n\n";
  EXPECT_EQ(last_lines(path), "first\nlast");
  std::ofstream(path) << std::string(3000, 'x') << "\nsecond\nlast\n";
  EXPECT_EQ(last_lines(path), "second\nlast");
}

}  // namespace
}  // namespace cluster::processes
