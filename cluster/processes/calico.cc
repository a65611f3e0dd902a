#include "cluster/processes/calico.h"

#include "cluster/processes/addresses.h"

namespace cluster::processes {
namespace {

using base::Json;

// Both are the cluster's administrator: they run as root on the machine that holds its keys.
std::string kubeconfig_of(const Directory& directory) { return directory.secret("calico.conf"); }

}  // namespace

Json calico_cni_config(const Directory& directory, int node) {
  const Json range = {{"subnet", addresses::pod_cidr_of(node)}};
  const Json calico = {
      {"type", "calico"},
      {"datastore_type", "kubernetes"},
      {"nodename", node_name(node)},
      {"nodename_file_optional", true},  // calico/node would write it
      {"log_level", "warning"},
      {"log_file_path", "/var/log/calico-cni.log"},
      {"mtu", 1500},
      {"ipam", {{"type", "host-local"}, {"ranges", Json::array({Json::array({range})})}}},
      {"policy", {{"type", "k8s"}}},
      {"kubernetes", {{"kubeconfig", kubeconfig_of(directory)}}}};
  const Json port_map = {
      {"type", "portmap"}, {"snat", true}, {"capabilities", {{"portMappings", true}}}};
  return {{"cniVersion", "0.3.1"},
          {"name", "stackbench"},
          {"plugins", Json::array({calico, port_map})}};
}

ComponentPlan felix_component(const Directory& directory, const Tools& tools, int node) {
  const auto name = node_name(node);
  return {.name = name + "-felix",
          .node = node,
          .argv = {tools.calico + "/calico-felix"},
          .environment = {"KUBECONFIG=" + kubeconfig_of(directory),
                          "FELIX_DATASTORETYPE=kubernetes", "FELIX_FELIXHOSTNAME=" + name,
                          // Debian's iptables, as kube-proxy's.
                          "FELIX_IPTABLESBACKEND=NFT", "FELIX_IPV6SUPPORT=false",
                          "FELIX_IPINIPENABLED=false", "FELIX_VXLANENABLED=false",
                          "FELIX_WIREGUARDENABLED=false", "FELIX_BPFENABLED=false",
                          "FELIX_BPFCONNECTTIMELOADBALANCING=Disabled", "FELIX_XDPENABLED=false",
                          // Without BPF, Felix starts by emptying a tail-call map that it makes for
                          // the purpose, and lists the maps of the machine next. The kernel takes
                          // such a map down later, by work that it counts as often as a last user
                          // goes but runs once (prog_array_map_clear, kernel/bpf/arraymap.c): one
                          // that is listed in between stays until the machine is rebooted. And
                          // where bpftool makes the map, a Felix that was built without cgo ends
                          // when it opens it (felix/bpf/maps/syscall_stub.go).
                          "FELIX_DebugSkipCTLBCleanup=true",
                          // Every ten seconds Felix would list each of its sets by a command of its
                          // own, lest somebody else changed one: with thousands of policies that
                          // is a core's whole work, and nobody else is here.
                          "FELIX_IPSETSREFRESHINTERVAL=0",
                          // Pods reach their node, as Calico's own manifest has it.
                          "FELIX_DEFAULTENDPOINTTOHOSTACTION=ACCEPT", "FELIX_HEALTHENABLED=true",
                          "FELIX_HEALTHHOST=127.0.0.1",
                          fmt::format("FELIX_HEALTHPORT={}", addresses::felix_health_port),
                          "FELIX_LOGSEVERITYSCREEN=warning", "FELIX_LOGSEVERITYSYS=none",
                          "FELIX_LOGFILEPATH=none", "FELIX_USAGEREPORTINGENABLED=false"}};
}

ApiObject calico_cluster_information(const std::string& version) {
  return {.path = "/apis/crd.projectcalico.org/v1/clusterinformations",
          .object = {{"apiVersion", "crd.projectcalico.org/v1"},
                     {"kind", "ClusterInformation"},
                     {"metadata", {{"name", "default"}}},
                     {"spec",
                      {{"clusterGUID", "stackbench"},
                       {"clusterType", "k8s,kdd"},
                       {"calicoVersion", version},
                       {"datastoreReady", true}}}}};
}

}  // namespace cluster::processes
