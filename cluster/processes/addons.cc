#include "cluster/processes/addons.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "cluster/processes/calico.h"
#include "cluster/processes/coredns.h"
#include "cluster/processes/metallb.h"

namespace cluster::processes {

namespace fs = std::filesystem;
using base::Result;

std::vector<std::string> definition_folders(const Tools& tools, const Shape& shape) {
  std::vector<std::string> folders;
  if (shape.cni == Cni::calico) folders.push_back(tools.calico + "/crds");
  if (shape.bgp == Bgp::metallb) folders.push_back(tools.metallb + "/crds");
  if (shape.mesh == Mesh::istio) folders.push_back(tools.istio + "/crds");
  return folders;
}

Result<> create_definitions(const ApiClient& api, const std::string& folder) {
  std::error_code code;
  for (fs::directory_iterator entry(folder, code), end; !code && entry != end;
       entry.increment(code)) {
    ASSIGN_OR_RETURN(const auto text, base::read_file(entry->path().string()));
    if (auto made = api.create_from_yaml(std::string(definitions_path), text); !made) {
      return base::in_context(std::move(made).error(), "{}", entry->path().string());
    }
  }
  if (code) return base::system_error(code.value(), "{}", folder);
  return {};
}

Result<std::vector<ApiObject>> addon_objects(const Tools& tools, const Shape& shape) {
  std::vector<ApiObject> objects;
  if (shape.cni == Cni::calico) {
    ASSIGN_OR_RETURN(auto version, base::read_file(tools.calico + "/version"));
    while (version.ends_with('\n')) version.pop_back();
    objects.push_back(calico_cluster_information(version));
  }
  if (shape.bgp == Bgp::metallb) {
    for (auto& object : metallb_objects(shape)) objects.push_back(std::move(object));
  }
  if (shape.mesh == Mesh::istio) {
    for (auto& object : coredns_objects()) objects.push_back(std::move(object));
  }
  return objects;
}

}  // namespace cluster::processes
