#include "cluster/kubernetes/istio_identities.h"

#include <array>
#include <string_view>
#include <utility>

#include "cluster/kubernetes/api_error.h"

namespace cluster {
namespace {

using base::Json;

// Where in a value a namespace's name is.
enum class Form {
  name_alone,  // "partners"
  account,     // "partners/web"; one without a slash is of the object's own namespace
  principal,   // "cluster.local/ns/partners/sa/web"
};

struct Named {
  std::string_view field;  // of a source; the same without "not" and with it
  std::string_view negated;
  std::string_view key;  // of a condition (`when`)
  Form form;
};
constexpr std::array all_named{
    Named{"namespaces", "notNamespaces", "source.namespace", Form::name_alone},
    Named{"serviceAccounts", "notServiceAccounts", "source.serviceAccount", Form::account},
    Named{"principals", "notPrincipals", "source.principal", Form::principal}};

std::string renamed(const NamespaceNames& names, const std::string& value, Form form) {
  constexpr std::string_view before = "/ns/";
  std::size_t begin = 0;
  auto end = value.size();
  if (form == Form::principal) {
    begin = value.find(before);
    if (begin == std::string::npos) return value;
    begin += before.size();
  }
  if (form != Form::name_alone) end = value.find('/', begin);
  if (end == std::string::npos) return value;
  const auto name = names.find(value.substr(begin, end - begin));
  if (name == names.end()) return value;
  return value.substr(0, begin) + name->second + value.substr(end);
}

void rename_in(const NamespaceNames& names, Json& holder, std::string_view field, Form form) {
  const auto values = holder.find(field);
  if (values == holder.end() || !values->is_array()) return;
  for (auto& value : *values) {
    if (value.is_string()) value = renamed(names, value.get<std::string>(), form);
  }
}

template <typename Take>
void each_object(Json& holder, std::string_view field, const Take& take) {
  if (!holder.is_object()) return;
  const auto list = holder.find(field);
  if (list == holder.end() || !list->is_array()) return;
  for (auto& one : *list) {
    if (one.is_object()) take(one);
  }
}

}  // namespace

std::optional<std::string> unnamed_source(const Json& object) {
  std::optional<std::string> found;
  const auto look = [&](const Json& holder, std::string_view field, Form form) {
    const auto& values = json_at(holder, {field});
    for (const auto& value : values.is_array() ? values : Json::array()) {
      if (!value.is_string()) continue;
      const auto text = value.get<std::string>();
      auto name = text;
      if (form == Form::principal) {
        const auto at = text.find("/ns/");
        name =
            at == std::string::npos ? text : text.substr(at + 4, text.find('/', at + 4) - at - 4);
      } else if (form == Form::account) {
        name = text.substr(0, text.find('/'));
      }
      if (name != "*" && name.find('*') != std::string::npos) {
        found = fmt::format("{}: \"{}\"", field, text);
      }
    }
  };
  auto spec = json_at(object, {"spec"});
  each_object(spec, "rules", [&](Json& rule) {
    each_object(rule, "from", [&](Json& from) {
      for (const auto& named : all_named) {
        look(json_at(from, {"source"}), named.field, named.form);
        look(json_at(from, {"source"}), named.negated, named.form);
      }
    });
    each_object(rule, "to", [&](Json& to) {
      for (const auto* hosts : {"hosts", "notHosts"}) {
        if (json_at(to, {"operation", hosts}).is_array()) found = hosts;
      }
    });
  });
  return found;
}

std::string spiffe_identity(const std::string& trust_domain, const std::string& in_namespace,
                            const std::string& account) {
  return fmt::format("spiffe://{}/ns/{}/sa/{}", trust_domain, in_namespace, account);
}

Json service_account_manifest(const Placement& place, const std::string& group) {
  const Json account = {{"apiVersion", "v1"},
                        {"kind", "ServiceAccount"},
                        {"metadata", {{"name", group}}},
                        {"automountServiceAccountToken", false}};
  return own_manifest(place, account);
}

Json with_names_of(const NamespaceNames& names, Json object) {
  const auto spec = object.find("spec");
  if (spec == object.end()) return object;
  each_object(*spec, "rules", [&](Json& rule) {
    each_object(rule, "from", [&](Json& from) {
      const auto source = from.find("source");
      if (source == from.end() || !source->is_object()) return;
      for (const auto& named : all_named) {
        rename_in(names, *source, named.field, named.form);
        rename_in(names, *source, named.negated, named.form);
      }
    });
    each_object(rule, "when", [&](Json& condition) {
      for (const auto& named : all_named) {
        if (text_at(condition, {"key"}) != named.key) continue;
        rename_in(names, condition, "values", named.form);
        rename_in(names, condition, "notValues", named.form);
      }
    });
  });
  return object;
}

}  // namespace cluster
