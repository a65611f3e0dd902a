#include "base/kube/meta.h"

#include <algorithm>

namespace base::kube {

Json IntOrString::to_json() const {
  return std::visit([](const auto& held) { return Json(held); }, value);
}

Result<IntOrString> IntOrString::from_json(const Json& json, const std::string& path) {
  if (json.is_string()) return IntOrString{json.get_ref<const std::string&>()};
  if (!json.is_number_integer()) {
    return json_detail::wrong_type(path, "an integer or a string", json);
  }
  ASSIGN_OR_RETURN(const auto number, base::from_json<std::int32_t>(json, path));
  return IntOrString{number};
}

Json IntOrString::json_schema() { return {{"type", {"integer", "string"}}}; }

bool is_dns_label(std::string_view text) {
  const auto is_alphanumeric = [](char letter) {
    return (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9');
  };
  return !text.empty() && text.size() <= 63 && is_alphanumeric(text.front()) &&
         is_alphanumeric(text.back()) && std::all_of(text.begin(), text.end(), [&](char letter) {
           return is_alphanumeric(letter) || letter == '-';
         });
}

}  // namespace base::kube
