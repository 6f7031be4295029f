#include "trainer/hf/hf_family.h"

#include "absl/strings/str_cat.h"

namespace wyvern {

const HfFamily* FindHfFamily(absl::string_view model_type) {
  for (const HfFamily* family : HfFamilies()) {
    if (model_type == family->model_type) return family;
  }
  return nullptr;
}

std::string HfFamilyNames() {
  const std::vector<const HfFamily*>& families = HfFamilies();
  std::string names;
  for (size_t i = 0; i < families.size(); ++i) {
    const char* before = i == 0 ? "" : i + 1 < families.size() ? ", " : " or ";
    absl::StrAppend(&names, before, families[i]->model_type);
  }
  return names;
}

}  // namespace wyvern
