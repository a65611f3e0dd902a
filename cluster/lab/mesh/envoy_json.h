// How Envoy's configuration is written as JSON: its extensions, and lists.
#pragma once

#include <initializer_list>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "base/json.h"

namespace cluster::envoy {

inline constexpr std::string_view extensions = "type.googleapis.com/envoy.extensions.";

// Any (google.protobuf.Any): `type` without the part that all extensions share.
inline base::Json typed(std::string_view type, const base::Json& config) {
  base::Json all = {{"@type", fmt::format("{}{}", extensions, type)}};
  all.update(config);
  return all;
}

inline base::Json extension(std::string_view name, std::string_view type,
                            const base::Json& config = base::Json::object()) {
  return {{"name", name}, {"typed_config", typed(type, config)}};
}

// What a cluster says of how its servers are spoken to in HTTP: by HTTP/1.1, unless that is
// changed.
inline base::Json& http_options_of(base::Json& cluster) {
  auto& options = cluster["typed_extension_protocol_options"]
                         ["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
  if (options.is_null()) {
    options = typed("upstreams.http.v3.HttpProtocolOptions",
                    {{"explicit_http_config", {{"http_protocol_options", base::Json::object()}}}});
  }
  return options;
}

// An array, also of a single element, which braces alone would take for the element itself.
inline base::Json list(std::initializer_list<base::Json> elements) {
  auto all = base::Json::array();
  for (const auto& element : elements) all.push_back(element);
  return all;
}

}  // namespace cluster::envoy
