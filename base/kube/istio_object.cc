#include "base/kube/istio_object.h"

#include <algorithm>

namespace base::kube {

std::string istio_object_name(std::string_view kind, const Json& object) {
  const auto metadata = object.is_object() ? object.value("metadata", Json()) : Json();
  const auto said = [&](const char* field, std::string_view otherwise) {
    const auto its = metadata.is_object() ? metadata.value(field, Json()) : Json();
    return its.is_string() ? its.get<std::string>() : std::string(otherwise);
  };
  return fmt::format("{} {}/{}", kind, said("namespace", "default"), said("name", ""));
}

Json spec_of(const Json& object) {
  return object.is_object() ? object.value("spec", Json::object()) : Json::object();
}

Result<> check_istio_object(std::string_view api_version, const ObjectMeta& metadata,
                            std::string_view where, std::string_view expected) {
  const auto older = fmt::format("{}beta1", expected);
  if (api_version != expected && api_version != older) {
    return fail(ErrorKind::input, "{}: apiVersion: expected {}, got \"{}\"", where, expected,
                api_version);
  }
  if (!is_dns_label(metadata.name) || !is_dns_label(metadata.in_namespace)) {
    return fail(ErrorKind::input, "{}: metadata: expected names of 1 to 63 of a-z, 0-9 and -",
                where);
  }
  return {};
}

bool is_about(const ObjectMeta& metadata, const std::optional<WorkloadSelector>& selector,
              std::string_view in_namespace, const std::map<std::string, std::string>& labels) {
  if (metadata.in_namespace != in_namespace && metadata.in_namespace != istio_root_namespace) {
    return false;
  }
  return !selector || std::ranges::all_of(selector->match_labels, [&](const auto& wanted) {
    const auto found = labels.find(wanted.first);
    return found != labels.end() && found->second == wanted.second;
  });
}

}  // namespace base::kube
