#ifndef WYVERN_DATA_SAMPLING_DOCUMENT_BOUNDARY_H_
#define WYVERN_DATA_SAMPLING_DOCUMENT_BOUNDARY_H_

namespace wyvern {

enum class DocumentBoundary {
  kNone,   // a sample is one sequence, across documents
  kReset,  // a sequence ends where its document or its sample ends; no target crosses documents
};

constexpr const char* Name(DocumentBoundary boundary) {
  return boundary == DocumentBoundary::kNone ? "none" : "reset";
}

}  // namespace wyvern

#endif  // WYVERN_DATA_SAMPLING_DOCUMENT_BOUNDARY_H_
