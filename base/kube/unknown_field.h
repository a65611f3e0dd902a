// Finds what an object says beyond the fields we read: most of that may be passed over, but what is
// left out of a policy makes another policy.
#pragma once

#include <algorithm>
#include <concepts>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/describe.h"
#include "base/json.h"
#include "base/kube/meta.h"

namespace base::kube {

// The path of the first key that `T`, or what is in it, has no field for; nothing where there is
// none. Of ObjectMeta nothing is: servers add to it.
template <typename T>
[[nodiscard]] std::optional<std::string> unknown_field(const Json& json, const std::string& path);

// ---- what follows is how -----------------------------------------------------------------------

namespace unknown_detail {

struct Fields {
  const Json& json;
  const std::string& path;
  std::optional<std::string>& found;
  std::vector<std::string_view> known{};

  template <typename Member>
  void operator()(std::string_view name, Member&, const FieldOptions&) {
    known.push_back(name);
    const auto its = json.find(name);
    if (found || its == json.end()) return;
    found = unknown_field<std::remove_cvref_t<Member>>(*its, fmt::format("{}.{}", path, name));
  }
};

}  // namespace unknown_detail

template <typename T>
std::optional<std::string> unknown_field(const Json& json, const std::string& path) {
  std::optional<std::string> found;
  if constexpr (IsOptional<T>::value) {
    return unknown_field<typename T::value_type>(json, path);
  } else if constexpr (IsVector<T>::value) {
    for (std::size_t i = 0; json.is_array() && i < json.size() && !found; ++i) {
      found = unknown_field<typename T::value_type>(json[i], fmt::format("{}[{}]", path, i));
    }
  } else if constexpr (IsMap<T>::value) {
    if (!json.is_object()) return found;
    for (const auto& [key, value] : json.items()) {
      if (!found)
        found = unknown_field<typename T::mapped_type>(value, fmt::format("{}.{}", path, key));
    }
  } else if constexpr (Described<T> && !std::same_as<T, ObjectMeta>) {
    if (!json.is_object()) return found;
    T any{};
    unknown_detail::Fields fields{json, path, found};
    describe(fields, any);
    for (const auto& [key, value] : json.items()) {
      if (!found && std::ranges::find(fields.known, key) == fields.known.end()) {
        found = fmt::format("{}.{}", path, key);
      }
    }
  }
  return found;
}

}  // namespace base::kube
