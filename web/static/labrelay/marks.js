// What the outline of a result is around.
import { page } from "./page.js";

/** What the model marks; empty for a tumour. Of a model that is gone nothing is known. */
export function marksOf(model) {
  return page.models.find((one) => one.name === model)?.marks ?? page.texts.a_region;
}
