// What every check returns: its verdict, and what it rests on.
#pragma once

#include <string>

#include "base/json.h"
#include "base/verdict.h"

namespace checks {

struct Finding {
  base::Verdict verdict = base::Verdict::inconclusive;
  std::string sentence = {};  // what was seen, with its figures
  std::string observed = {};  // the same in a word or two, for a table
  base::Json evidence = base::Json::object();
};

}  // namespace checks
