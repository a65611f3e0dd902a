// What `stackbench doctor` says of one thing that a target needs.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "base/describe.h"
#include "base/scalar.h"

namespace cluster {

enum class Available {
  yes,
  no,
  unknown,  // it could not be tried, mostly for want of root
};

struct Feature {
  std::string name;  // "eBPF cgroup/connect4"
  Available available = Available::unknown;
  bool required = false;       // nothing runs without it
  std::string detail = {};     // what was found: a version, a place, a refusal
  std::string needed_by = {};  // what of ours uses it
  std::string mend = {};       // what to install or do; empty where it is available
};

template <typename Visit, base::SelfOf<Feature> Self>
void describe(Visit& visit, Self& self) {
  visit("name", self.name, {.doc = "The feature.", .required = true});
  visit("available", self.available, {.doc = "Whether it is there.", .required = true});
  visit("required", self.required, {.doc = "Nothing runs without it."});
  visit("detail", self.detail, {.doc = "What was found."});
  visit("needed_by", self.needed_by, {.doc = "What uses it."});
  visit("mend", self.mend, {.doc = "What to install or do."});
}

}  // namespace cluster

template <>
struct base::EnumNames<cluster::Available> {
  static constexpr std::array names{
      std::pair{cluster::Available::yes, std::string_view("yes")},
      std::pair{cluster::Available::no, std::string_view("no")},
      std::pair{cluster::Available::unknown, std::string_view("unknown")}};
};
