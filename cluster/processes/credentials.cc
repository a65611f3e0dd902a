#include "cluster/processes/credentials.h"

#include <utility>
#include <vector>

#include "cluster/processes/addresses.h"
#include "cluster/processes/configs.h"
#include "cluster/processes/files.h"

namespace cluster::processes {
namespace {

using base::Result;

Result<> write_secret(const std::string& path, std::string_view content) {
  return write_plain_file(path, content, 0600);
}

std::string inner_server() {
  return fmt::format("https://{}:{}", addresses::control_plane, addresses::api_server_port);
}

// Whose certificate it is, and what becomes of it.
struct Credential {
  std::string file;
  pki::Subject subject;
  bool has_kubeconfig = false;
};

std::vector<Credential> credentials_of(const Shape& shape) {
  const std::string masters = "system:masters";
  std::vector<Credential> all{
      {.file = "apiserver",
       .subject = {.common_name = "kube-apiserver",
                   .purpose = pki::Purpose::server,
                   .dns_names = {"localhost", "kubernetes", "kubernetes.default",
                                 "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
                   .addresses = {"127.0.0.1", std::string(addresses::control_plane),
                                 std::string(addresses::kubernetes_service)}}},
      {.file = "kubelet-client",
       .subject = {.common_name = "kube-apiserver-kubelet-client", .organisation = masters}},
      {.file = "controller-manager",
       .subject = {.common_name = "system:kube-controller-manager"},
       .has_kubeconfig = true},
      {.file = "scheduler",
       .subject = {.common_name = "system:kube-scheduler"},
       .has_kubeconfig = true},
      {.file = "kube-proxy",
       .subject = {.common_name = "system:kube-proxy"},
       .has_kubeconfig = true}};
  const auto add_administrator = [&](const std::string& name) {
    all.push_back({.file = name,
                   .subject = {.common_name = name, .organisation = masters},
                   .has_kubeconfig = true});
  };
  if (shape.cni == Cni::calico) add_administrator("calico");
  if (shape.bgp == Bgp::metallb) add_administrator("metallb");
  if (shape.mesh == Mesh::istio) add_administrator("coredns");
  for (int node = 1; node <= shape.nodes; ++node) {
    const auto name = node_name(node);
    const pki::Subject client{.common_name = "system:node:" + name, .organisation = "system:nodes"};
    pki::Subject server = client;
    server.purpose = pki::Purpose::server;
    server.dns_names = {name};
    server.addresses = {addresses::node(node)};
    all.push_back({.file = name, .subject = client, .has_kubeconfig = true});
    all.push_back({.file = name + "-serving", .subject = server});
  }
  return all;
}

}  // namespace

Result<Credentials> write_credentials(const Directory& directory, const Shape& shape) {
  RETURN_IF_ERROR(make_directory(directory.secret("")));
  ASSIGN_OR_RETURN(const auto authority, pki::Authority::create("stackbench-" + shape.name));
  RETURN_IF_ERROR(write_secret(directory.secret("ca.crt"), authority.own().certificate));
  RETURN_IF_ERROR(write_secret(directory.secret("ca.key"), authority.own().key));
  for (const auto& credential : credentials_of(shape)) {
    ASSIGN_OR_RETURN(const auto pair, authority.issue(credential.subject));
    RETURN_IF_ERROR(write_secret(directory.secret(credential.file + ".crt"), pair.certificate));
    RETURN_IF_ERROR(write_secret(directory.secret(credential.file + ".key"), pair.key));
    if (!credential.has_kubeconfig) continue;
    const auto config =
        kubeconfig(credential.file, inner_server(), authority.own().certificate, pair);
    RETURN_IF_ERROR(
        write_secret(directory.secret(credential.file + ".conf"), base::dump_json_pretty(config)));
  }
  ASSIGN_OR_RETURN(const auto signing, pki::make_signing_key());
  RETURN_IF_ERROR(write_secret(directory.secret("sa.key"), signing.private_key));
  RETURN_IF_ERROR(write_secret(directory.secret("sa.pub"), signing.public_key));
  Credentials made{.authority = authority.own().certificate, .administrator = {}};
  ASSIGN_OR_RETURN(made.administrator,
                   authority.issue({.common_name = "admin", .organisation = "system:masters"}));
  return made;
}

Result<> write_kubeconfig(const Directory& directory, const Shape& shape,
                          const Credentials& credentials, std::uint16_t port) {
  const auto config =
      kubeconfig("stackbench-" + shape.name, fmt::format("https://127.0.0.1:{}", port),
                 credentials.authority, credentials.administrator);
  return write_secret(directory.kubeconfig(), base::dump_json_pretty(config) + "\n");
}

}  // namespace cluster::processes
