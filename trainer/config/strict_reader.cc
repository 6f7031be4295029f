#include "trainer/config/strict_reader.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/runtime/nearest.h"
#include "trainer/config/peer_keys.h"

namespace wyvern {
namespace {

bool ToDouble(const std::string& text, double* value) {
  // SimpleAtod also takes "inf", "nan" and hexadecimal, which no key means.
  return text.find_first_not_of("+-.0123456789eE") == std::string::npos &&
         absl::SimpleAtod(text, value) && std::isfinite(*value);
}

}  // namespace

StrictReader::StrictReader(const ConfigNode& node, std::string key,
                           std::vector<ConfigFault>* faults)
    : node_(node), key_(std::move(key)), faults_(faults) {}

std::string StrictReader::FullKey(const std::string& key) const {
  return key_.empty() ? key : absl::StrCat(key_, ".", key);
}

void StrictReader::Fault(const ConfigNode& node, const std::string& key, std::string message) {
  faults_->push_back({node.where, FullKey(key), std::move(message)});
}

const ConfigNode* StrictReader::Take(const std::string& key) {
  known_.push_back(key);
  const ConfigNode* node = node_.Find(key);
  if (node != nullptr && !no_effect_.empty() && !is_choice_open_) {
    Fault(*node, key, absl::StrCat("has no effect with ", no_effect_, "; remove it"));
    faults_->back().idle = true;
    return nullptr;
  }
  return node;
}

bool StrictReader::Scalar(const ConfigNode& node, const std::string& key, const char* expected,
                          bool quotes_allowed) {
  if (node.kind == ConfigNode::Kind::kScalar && (quotes_allowed || !node.quoted)) return true;
  Fault(node, key,
        absl::StrCat("expected ", expected, ", got ", node.Describe(),
                     node.quoted ? " in quotes" : ""));
  return false;
}

bool StrictReader::ParseInteger(const ConfigNode& node, const std::string& key, int64_t* value) {
  if (!Scalar(node, key, "an integer", false)) return false;
  double number = 0;
  if (absl::SimpleAtoi(node.scalar, value)) return true;
  // 15e9 is an integer too; beyond 2^53 a double would no longer be exact.
  if (ToDouble(node.scalar, &number) && number == std::floor(number) &&
      std::abs(number) <= 9007199254740992.0) {
    *value = static_cast<int64_t>(number);
    return true;
  }
  Fault(node, key, absl::StrCat("expected an integer, got ", node.Describe()));
  return false;
}

void StrictReader::Value(const std::string& key, int64_t* value) {
  const ConfigNode* node = Take(key);
  int64_t parsed = 0;
  if (node != nullptr && ParseInteger(*node, key, &parsed)) *value = parsed;
}

void StrictReader::Value(const std::string& key, uint64_t* value) {
  const ConfigNode* node = Take(key);
  if (node == nullptr || !Scalar(*node, key, "an integer from 0", false)) return;
  uint64_t parsed = 0;
  if (absl::SimpleAtoi(node->scalar, &parsed)) {
    *value = parsed;
  } else {
    Fault(*node, key, absl::StrCat("expected an integer from 0, got ", node->Describe()));
  }
}

void StrictReader::Value(const std::string& key, double* value) {
  const ConfigNode* node = Take(key);
  if (node == nullptr || !Scalar(*node, key, "a number", false)) return;
  double parsed = 0;
  if (ToDouble(node->scalar, &parsed)) {
    *value = parsed;
  } else {
    Fault(*node, key, absl::StrCat("expected a number, got ", node->Describe()));
  }
}

void StrictReader::Value(const std::string& key, bool* value) {
  const ConfigNode* node = Take(key);
  if (node == nullptr || !Scalar(*node, key, "true or false", false)) return;
  if (node->scalar == "true" || node->scalar == "false") {
    *value = node->scalar == "true";
  } else {
    Fault(*node, key, absl::StrCat("expected true or false, got ", node->Describe()));
  }
}

void StrictReader::Value(const std::string& key, std::string* value) {
  const ConfigNode* node = Take(key);
  if (node != nullptr && Scalar(*node, key, "text", true)) *value = node->scalar;
}

void StrictReader::Value(const std::string& key, std::optional<double>* value) {
  double parsed = value->value_or(0);
  const size_t num_faults = faults_->size();
  const ConfigNode* node = node_.Find(key);
  Value(key, &parsed);
  if (node != nullptr && faults_->size() == num_faults) *value = parsed;
}

void StrictReader::Value(const std::string& key, std::vector<std::string>* value) {
  const ConfigNode* node = Take(key);
  if (node == nullptr) return;
  if (node->kind != ConfigNode::Kind::kList) {
    return Fault(*node, key, absl::StrCat("expected a list like [a, b], got ", node->Describe()));
  }
  std::vector<std::string> parsed;
  for (const ConfigNode& entry : node->list) {
    if (!Scalar(entry, key, "text in the list", true)) return;
    parsed.push_back(entry.scalar);
  }
  *value = std::move(parsed);
}

void StrictReader::Value(const std::string& key, std::vector<int64_t>* value) {
  const ConfigNode* node = Take(key);
  if (node == nullptr) return;
  if (node->kind != ConfigNode::Kind::kList) {
    return Fault(*node, key, absl::StrCat("expected a list like [1, 2], got ", node->Describe()));
  }
  std::vector<int64_t> parsed(node->list.size());
  for (size_t i = 0; i < parsed.size(); ++i) {
    if (!ParseInteger(node->list[i], key, &parsed[i])) return;
  }
  *value = std::move(parsed);
}

void StrictReader::CountOr(const std::string& word, const std::string& key, int64_t* value) {
  const ConfigNode* node = Take(key);
  if (node == nullptr) return;
  int64_t parsed = 0;
  if (node->kind == ConfigNode::Kind::kScalar && node->scalar == word) {
    *value = -1;
  } else if (ParseInteger(*node, key, &parsed)) {
    if (parsed >= 0) {
      *value = parsed;
    } else {
      Fault(*node, key, absl::StrCat("expected at least 1, or ", word, ", got ", parsed));
    }
  }
}

void StrictReader::Choice(const std::string& key, const std::vector<std::string>& names,
                          int* index) {
  const ConfigNode* node = Take(key);
  if (node == nullptr) {
    if (*index < 0) {
      is_choice_open_ = lacks_keys_ = true;
      Fault(node_, key, absl::StrCat("missing; expected one of ", absl::StrJoin(names, ", ")));
      faults_->back().open = true;
    }
    return;
  }
  const auto found = node->kind == ConfigNode::Kind::kScalar
                         ? std::find(names.begin(), names.end(), node->scalar)
                         : names.end();
  if (found == names.end()) {
    const std::string nearest =
        node->kind == ConfigNode::Kind::kScalar ? Nearest(node->scalar, names) : "";
    is_choice_open_ = true;
    lacks_keys_ = lacks_keys_ || *index < 0;
    Fault(*node, key,
          absl::StrCat("expected ", names.size() > 1 ? "one of " : "", absl::StrJoin(names, ", "),
                       ", got ", node->Describe(),
                       nearest.empty() ? "" : absl::StrCat("; did you mean '", nearest, "'?")));
    faults_->back().open = true;
    return;
  }
  *index = static_cast<int>(found - names.begin());
}

void StrictReader::Section(const std::string& key, const Body& body) {
  static const ConfigNode* const kAbsent =
      new ConfigNode{ConfigNode::Kind::kMap, "", "", false, {}, {}};
  const ConfigNode* node = Take(key);
  if (node == nullptr || node->kind == ConfigNode::Kind::kNull) node = kAbsent;
  if (node->kind != ConfigNode::Kind::kMap) {
    Fault(*node, key, absl::StrCat("expected a section of keys, got ", node->Describe()));
    node = kAbsent;
  }
  StrictReader reader(*node, FullKey(key), faults_);
  body(reader);
  reader.Finish();
}

bool StrictReader::Has(const std::string& key, bool) {
  known_.push_back(key);
  const ConfigNode* node = node_.Find(key);
  return node != nullptr && node->kind != ConfigNode::Kind::kNull;
}

void StrictReader::List(const std::string& key, const std::function<size_t()>&,
                        const std::function<void(size_t)>& resize,
                        const std::function<void(size_t, ConfigVisitor&)>& body) {
  const ConfigNode* node = Take(key);
  if (node == nullptr) return;
  if (node->kind != ConfigNode::Kind::kList) {
    return Fault(*node, key, absl::StrCat("expected a list of sections, got ", node->Describe()));
  }
  resize(node->list.size());
  for (size_t i = 0; i < node->list.size(); ++i) {
    const std::string entry = absl::StrCat(key, "[", i, "]");
    if (node->list[i].kind != ConfigNode::Kind::kMap) {
      Fault(node->list[i], entry,
            absl::StrCat("expected a section of keys, got ", node->list[i].Describe()));
      continue;
    }
    StrictReader reader(node->list[i], FullKey(entry), faults_);
    body(i, reader);
    reader.Finish();
  }
}

void StrictReader::Names(const std::string& key, const std::vector<std::string>&,
                         const std::function<void(const std::string&, ConfigVisitor&)>& body) {
  const ConfigNode* node = Take(key);
  if (node == nullptr || node->kind == ConfigNode::Kind::kNull) return;
  if (node->kind != ConfigNode::Kind::kMap) {
    return Fault(*node, key, absl::StrCat("expected a section of names, got ", node->Describe()));
  }
  StrictReader reader(*node, FullKey(key), faults_);
  std::set<std::string> seen;
  for (const auto& [name, child] : node->map) {
    if (seen.insert(name).second) body(name, reader);
  }
  reader.Finish();
}

void StrictReader::Only(bool applies, const std::string& instead, const Body& body) {
  const std::string outer = no_effect_;
  if (!applies && outer.empty()) no_effect_ = instead;
  body(*this);
  no_effect_ = outer;
}

void StrictReader::Finish() {
  std::set<std::string> seen;
  for (const auto& [key, child] : node_.map) {
    if (!seen.insert(key).second) {
      Fault(child, key, "given twice; keep one");
    } else if (!lacks_keys_ && std::find(known_.begin(), known_.end(), key) == known_.end()) {
      Fault(child, key, absl::StrCat("unknown key; ", AdviceOn(key)));
    }
  }
}

std::string StrictReader::AdviceOn(const std::string& key) const {
  if (const PeerKey* peer = FindPeerKey(key)) {
    return absl::StrCat("Wyvern calls it ", peer->key, peer->note);
  }
  const std::string nearest = Nearest(key, known_);
  if (!nearest.empty()) return absl::StrCat("did you mean '", nearest, "'?");
  return absl::StrCat("the keys here are ", absl::StrJoin(known_, ", "));
}

}  // namespace wyvern
