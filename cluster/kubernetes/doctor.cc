#include "cluster/kubernetes/doctor.h"

#include <algorithm>
#include <utility>

#include "base/units.h"
#include "cluster/kubernetes/api_error.h"
#include "cluster/kubernetes/cluster_facts.h"
#include "cluster/kubernetes/kubectl_proxy.h"
#include "cluster/kubernetes/nodes.h"
#include "cluster/kubernetes/rights.h"

namespace cluster {
namespace {

using base::Error;
using base::Json;

Feature present(std::string name, std::string detail) {
  return {.name = std::move(name), .available = Available::yes, .detail = std::move(detail)};
}

Feature lacking(std::string name, const Error& error) {
  return {.name = std::move(name),
          .available = Available::no,
          .required = true,
          .detail = error.message,
          .mend = error.mend};
}

Feature rights_feature(const ApiOptions& api, std::string name, const std::vector<Right>& rights) {
  if (const auto checked = check_rights(api, rights); !checked) {
    return lacking(std::move(name), checked.error());
  }
  return present(std::move(name), fmt::format("all {} that it needs", rights.size()));
}

Feature nodes_feature(const Objects& nodes) {
  std::vector<std::string> others;
  for (const auto& [name, node] : nodes) {
    if (const auto why = unusable_because(node); !why.empty()) {
      others.push_back(fmt::format("{}: {}", name, why));
    }
  }
  const auto usable = nodes.size() - others.size();
  auto feature = present("nodes", fmt::format("{} of {} take pods{}{}", usable,
                                              base::format_count(nodes.size(), "node"),
                                              others.empty() ? "" : "; ", fmt::join(others, ", ")));
  if (usable >= 2) return feature;
  feature.available = Available::no;
  feature.required = usable == 0;
  feature.needed_by = usable == 0 ? "every run" : "scenarios with `nodes: 2`";
  feature.mend = "kubectl describe node says why a node takes no pods.";
  return feature;
}

Feature known(std::string name, const std::string& what, const std::string& source,
              std::string needed_by) {
  Feature feature{.name = std::move(name),
                  .available = what.empty() ? Available::unknown : Available::yes,
                  .detail = what.empty() ? source : fmt::format("{} ({})", what, source),
                  .needed_by = std::move(needed_by)};
  return feature;
}

// Nodes tell some of the images they have, the largest first.
bool has_image(const Json& node, const std::string& image) {
  const auto& images = json_at(node, {"status", "images"});
  if (!images.is_array()) return false;
  return std::ranges::any_of(images, [&](const Json& one) {
    const auto& names = json_at(one, {"names"});
    return names.is_array() && std::ranges::any_of(names, [&](const Json& name) {
             if (!name.is_string()) return false;
             const auto text = name.get<std::string>();
             return text == image || text.ends_with("/" + image);
           });
  });
}

Feature image_feature(const Objects& nodes, const std::string& image) {
  std::vector<std::string> without;
  for (const auto& [name, node] : nodes) {
    if (unusable_because(node).empty() && !has_image(node, image)) without.push_back(name);
  }
  auto feature = present("agent image", image);
  if (without.empty()) return feature;
  feature.available = Available::unknown;
  feature.detail =
      fmt::format("{} is not among what {} of itself", image,
                  without.size() == 1 ? fmt::format("node {} says", without.front())
                                      : fmt::format("nodes {} say", fmt::join(without, ", ")));
  feature.needed_by = "every run; a registry may have it";
  feature.mend =
      "`./bootstrap images` writes it to build/images for `kind load image-archive`; or push it "
      "and "
      "name it by --agent-image.";
  return feature;
}

}  // namespace

std::vector<Feature> probe_cluster(const KubernetesOptions& options) {
  std::vector<Feature> features;
  auto proxy = KubectlProxy::start(
      {.kubectl = options.kubectl, .kubeconfig = options.kubeconfig, .context = options.context},
      options.interrupt);
  if (!proxy) {
    features.push_back(lacking("kubectl", proxy.error()));
    return features;
  }
  features.push_back(present("kubectl", options.kubectl.empty() ? "in PATH" : options.kubectl));

  auto api_options = api_options_of(options, proxy->socket());
  api_options.timeout = std::min(api_options.timeout, first_answer_patience);
  ApiClient api(api_options);
  const auto version = api.get("/version");
  if (!version) {
    features.push_back(lacking("API server", proxy->explain(version.error())));
    return features;
  }
  const auto git_version = text_at(*version, {"gitVersion"});
  features.push_back(present("API server", "Kubernetes " + git_version));

  features.push_back(
      rights_feature(api_options, "rights", rights_of_run(options.in_namespace, git_version)));
  auto fillers =
      rights_feature(api_options, "rights for `filler`", rights_for_fillers(options.in_namespace));
  fillers.required = false;
  fillers.needed_by = "scenarios that load other Services";
  features.push_back(std::move(fillers));

  const auto nodes = list_nodes(api);
  if (!nodes) {
    features.push_back(lacking("nodes", nodes.error()));
    return features;
  }
  features.push_back(nodes_feature(*nodes));
  if (const auto facts = collect_cluster_facts(api, *nodes)) {
    features.push_back(known("Service proxy", facts->proxy.mode, facts->proxy.source,
                             "environments that name a datapath; `installed` works without"));
    features.push_back(known("network plugin",
                             facts->plugin.version.empty()
                                 ? facts->plugin.name
                                 : facts->plugin.name + " " + facts->plugin.version,
                             facts->plugin.source, "the report's facts"));
    const auto engine = policy_engine_of(facts->plugin);
    features.push_back(known("policy engine", engine.name, engine.source,
                             "whatever claims something of policies"));
  }
  features.push_back(image_feature(*nodes, image_of(options)));
  return features;
}

}  // namespace cluster
