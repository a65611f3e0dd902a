// What is said of a claim about the system under test. One spelling for whoever judges (checks,
// expectations) and whoever reports.
#pragma once

#include <array>
#include <string_view>
#include <utility>

#include "base/scalar.h"

namespace base {

enum class Verdict {
  pass,
  fail,          // the system under test does not do what was claimed; the evidence is there
  inconclusive,  // the data cannot tell
  skip,          // a feature is missing, and the sentence says which
  invalid,       // the machine was too disturbed
};

}  // namespace base

template <>
struct base::EnumNames<base::Verdict> {
  static constexpr std::array names{
      std::pair{base::Verdict::pass, std::string_view("pass")},
      std::pair{base::Verdict::fail, std::string_view("fail")},
      std::pair{base::Verdict::inconclusive, std::string_view("inconclusive")},
      std::pair{base::Verdict::skip, std::string_view("skip")},
      std::pair{base::Verdict::invalid, std::string_view("invalid")}};
};
